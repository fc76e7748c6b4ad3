import type { Socket } from 'node:net'
import { connectVsock, type ErrorCode, VarveError } from 'varve'
import { agentPort, functionName, maxAgentBytes } from './agent.js'

export interface AgentCallOptions {
  readonly signal?: AbortSignal
  /** For the whole call, connecting included. Default: 30 s. */
  readonly timeoutMs?: number
}

/** The agent in one guest. Each call is a connection of its own, so calls may run side by side. */
export interface GuestAgent {
  /** Waits until the agent answers: right after InstanceStart this is the wait for the guest's boot. */
  ping(options?: AgentCallOptions): Promise<void>
  /** Puts a function into the guest: an executable file, say a `#!/bin/sh` script. Replaces one of the same name. */
  put(name: string, program: Uint8Array | string, options?: AgentCallOptions): Promise<void>
  /** Runs a function once with `input` as its standard input and gives its standard output. */
  invoke(name: string, input?: Uint8Array | string, options?: AgentCallOptions): Promise<Buffer>
}

/** A connection that goes dead after its handshake is given up after this long; a slow (emulated) guest needs ~1 s. */
const pingTimeoutMs = 5_000
const retryDelayMs = 100
/** `err 16777216` is 12 bytes. */
const maxStatusBytes = 32

/** How a connection fails while the guest boots or right after a restore. */
const transient: readonly ErrorCode[] = ['API_TRANSPORT', 'TIMEOUT', 'INTERRUPTED']

/** The connection ended before an answer: nothing is known but that it is worth another try if nothing was asked yet. */
class ConnectionLost extends Error {}

/**
 * Talks to the agent over the Unix socket of the VM's vsock device. Errors: INVALID_ARGUMENT, GUEST_PROTOCOL (the
 * agent or the function failed, or the answer is not one), TIMEOUT, INTERRUPTED.
 */
export function guestAgent(vsockPath: string, port: number = agentPort): GuestAgent {
  const call = async (what: string, request: Buffer | null, options: AgentCallOptions): Promise<Buffer> => {
    const { signal, timeoutMs = 30_000 } = options
    const timeout = AbortSignal.timeout(timeoutMs)
    const ends = signal === undefined ? timeout : AbortSignal.any([timeout, signal])
    try {
      const { socket, answer } = await provenConnection(vsockPath, port, ends)
      try {
        return request === null ? answer : await exchange(socket, request, ends)
      } finally {
        socket.destroy()
      }
    } catch (error) {
      if (signal?.aborted)
        throw new VarveError('INTERRUPTED', `${what} over ${vsockPath} was aborted`, { cause: signal.reason })
      if (timeout.aborted)
        throw new VarveError('TIMEOUT', `${what} over ${vsockPath}: no answer within ${timeoutMs} ms`, {
          cause: error,
        })
      if (error instanceof VarveError && error.code === 'GUEST_PROTOCOL')
        throw new VarveError('GUEST_PROTOCOL', `${what} over ${vsockPath}: ${error.message}`, {
          cause: error,
        })
      if (error instanceof ConnectionLost)
        throw new VarveError(
          'GUEST_PROTOCOL',
          `${what} over ${vsockPath}: the guest closed before it answered`,
          {
            cause: error,
          },
        )
      throw error
    }
  }
  return {
    ping: async (options = {}) => {
      await call('ping', null, options)
    },
    put: async (name, program, options = {}) => {
      await call(`put ${name}`, request('put', name, program), options)
    },
    invoke: async (name, input = '', options = {}) =>
      call(`invoke ${name}`, request('invoke', name, input), options),
  }
}

function request(verb: string, name: string, content: Uint8Array | string): Buffer {
  if (!functionName.test(name))
    throw new VarveError('INVALID_ARGUMENT', `function name ${JSON.stringify(name)} is not ${functionName}`)
  const bytes = Buffer.from(content as Uint8Array)
  if (bytes.length > maxAgentBytes)
    throw new VarveError('INVALID_ARGUMENT', `${verb} ${name}: ${bytes.length} bytes exceed ${maxAgentBytes}`)
  return Buffer.concat([Buffer.from(`${verb} ${name} ${bytes.length}\n`, 'latin1'), bytes])
}

/**
 * A connection on which the agent has answered a ping. A connection made right after a restore can be accepted and
 * then reset; trying again is safe for a ping, but an invocation must not run twice, so it is sent only on one of these.
 */
async function provenConnection(
  vsockPath: string,
  port: number,
  ends: AbortSignal,
): Promise<{ socket: Socket; answer: Buffer }> {
  for (;;) {
    ends.throwIfAborted()
    let socket: Socket | undefined
    try {
      socket = await connectVsock(vsockPath, port, { signal: ends, attempts: 1, timeoutMs: pingTimeoutMs })
      const ping = AbortSignal.any([ends, AbortSignal.timeout(pingTimeoutMs)])
      return { socket, answer: await exchange(socket, Buffer.from('ping\n'), ping) }
    } catch (error) {
      socket?.destroy()
      if (error instanceof VarveError && !transient.includes(error.code)) throw error
      ends.throwIfAborted()
    }
    await new Promise((done) => setTimeout(done, retryDelayMs))
  }
}

/** Sends one request and reads its reply; the connection stays usable. */
function exchange(socket: Socket, bytes: Buffer, ends: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    let expected: { ok: boolean; bytes: number } | undefined
    const settle = () => {
      ends.removeEventListener('abort', onAbort)
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.pause()
    }
    const fail = (error: unknown) => {
      settle()
      reject(error)
    }
    const onAbort = () => fail(ends.reason)
    if (ends.aborted) return reject(ends.reason)
    ends.addEventListener('abort', onAbort)
    socket.on('error', (cause) => fail(new ConnectionLost(cause.message, { cause })))
    socket.on('close', () => fail(new ConnectionLost('closed')))
    socket.on('data', (chunk: Buffer) => {
      let body = chunk
      if (expected === undefined) {
        const head = Buffer.concat([...chunks.splice(0), chunk])
        const end = head.indexOf('\n')
        if (end < 0 && head.length <= maxStatusBytes) return void chunks.push(head)
        expected = status(head.toString('latin1', 0, end < 0 ? maxStatusBytes : end))
        if (expected === undefined)
          return fail(
            protocolError(`not a reply: ${JSON.stringify(head.toString('latin1', 0, maxStatusBytes))}`),
          )
        body = head.subarray(end + 1)
      }
      chunks.push(body)
      received += body.length
      if (received < expected.bytes) return
      if (received > expected.bytes) return fail(protocolError('bytes behind the reply'))
      const content = Buffer.concat(chunks)
      if (!expected.ok) return fail(protocolError(content.toString('utf8')))
      settle()
      resolve(content)
    })
    socket.write(bytes)
  })
}

const protocolError = (message: string) => new VarveError('GUEST_PROTOCOL', message)

function status(line: string): { ok: boolean; bytes: number } | undefined {
  const match = /^(ok|err) (\d{1,8})$/.exec(line)
  const bytes = Number(match?.[2])
  return match === null || bytes > maxAgentBytes ? undefined : { ok: match[1] === 'ok', bytes }
}
