import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectVsock, type ErrorCode, throwIfAborted, VarveError } from 'varve'
import { agentPort, agentProtocolVersion } from './bounds.js'
import { preamble, preambleBytes, versionIn } from './frames.js'

/** Where an agent listens. */
export interface AgentAddress {
  /** The Unix socket of the VM's vsock device, or, with `direct`, of the agent itself. */
  readonly path: string
  /** The agent was started with `--unix`: there is no VM and no `CONNECT`. */
  readonly direct?: boolean
  /** The vsock port of the agent. Default: 1024. */
  readonly port?: number
}

/** A try that brings no answer is given up after this long; a slow (emulated) guest needs some 1 s. */
const tryMs = 5_000
const retryDelayMs = 50

/** How a connection fails while the guest boots, or right after a restore. */
const transient: readonly ErrorCode[] = ['API_TRANSPORT', 'TIMEOUT', 'INTERRUPTED']

/** The connection ended before the agent answered: worth another try, because nothing was asked yet. */
class NotYet extends Error {}

/**
 * A connection on which the agent has said its version. One that is made while the guest boots, or right
 * after a restore, can be accepted and then reset; this tries until `ends` aborts. Errors: GUEST_PROTOCOL
 * (another version, or no agent of ours); TIMEOUT or INTERRUPTED as `ends` says.
 */
export async function dialAgent(address: AgentAddress, ends: AbortSignal): Promise<Socket> {
  const work = `connecting to the guest’s agent at ${address.path}`
  for (;;) {
    throwIfAborted(ends, work)
    let socket: Socket | undefined
    try {
      socket = await connected(address, ends)
      await greet(socket, address, ends)
      return socket
    } catch (error) {
      socket?.on('error', () => {}).destroy()
      throwIfAborted(ends, work)
      const again = error instanceof NotYet || (error instanceof VarveError && transient.includes(error.code))
      if (!again) throw error
    }
    await sleep(retryDelayMs, undefined, { signal: ends }).catch(() => throwIfAborted(ends, work))
  }
}

function connected(
  { path, direct = false, port = agentPort }: AgentAddress,
  signal: AbortSignal,
): Promise<Socket> {
  if (!direct) return connectVsock(path, port, { signal, attempts: 1, timeoutMs: tryMs })
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.once('error', (cause) => reject(new NotYet(cause.message, { cause })))
  })
}

/** Sends our eight bytes and reads the agent's; more than these is left in the socket. */
function greet(socket: Socket, { path }: AgentAddress, ends: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer)
      ends.removeEventListener('abort', onAbort)
      socket.off('readable', onReadable).off('error', onEnd).off('close', onEnd)
    }
    const fail = (error: unknown) => {
      settle()
      reject(error)
    }
    const onAbort = () => fail(ends.reason)
    const onEnd = () => fail(new NotYet('closed'))
    const onReadable = () => {
      const answer: Buffer | null = socket.read(preambleBytes)
      if (answer === null) return
      // At the end of a connection `read` gives what there is.
      if (answer.length < preambleBytes) return onEnd()
      const version = versionIn(answer)
      if (version === agentProtocolVersion) {
        settle()
        return resolve()
      }
      const what = version === undefined ? 'no agent of Varve' : `an agent that speaks version ${version}`
      fail(
        new VarveError('GUEST_PROTOCOL', `${path}: ${what}; this Varve speaks ${agentProtocolVersion}`, {
          remedy: 'build the guest again with this version of @varve/guest',
        }),
      )
    }
    const timer = setTimeout(() => fail(new NotYet('no answer')), tryMs)
    ends.addEventListener('abort', onAbort)
    socket.on('readable', onReadable).on('error', onEnd).on('close', onEnd)
    socket.write(preamble())
    onReadable()
  })
}
