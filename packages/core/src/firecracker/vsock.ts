import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { FirstAbort } from '../first-abort.js'
import { connectSocket } from '../sys/connect-socket.js'

/** Options of `connectVsock`. */
export interface ConnectVsockOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** For all tries together. Default: 10 s. */
  readonly timeoutMs?: number
  /**
   * How often to try, 1–1000. The first connection after a restore can be reset (the snapshot resets the
   * device), and a guest that still boots refuses, so one try is not enough. Default: 5.
   */
  readonly attempts?: number
}

/** `OK ` and the host port that Firecracker gave the connection, a u32: 13 bytes. */
const maxAnswerBytes = 32
const retryDelayMs = 50

/**
 * What is worth another try: no process listens on the socket (yet), or Firecracker
 * closed because the guest refused.
 */
class Refused extends Error {}

/**
 * Connects to a port on which a guest program listens, through the Unix socket of the VM's vsock device
 * (Firecracker docs/vsock.md, "Host-Initiated Connections": `CONNECT port\n`, answered by `OK host-port\n`,
 * or closed if no program listens). The caller owns the socket, which is paused and has no listeners; bytes
 * that came behind the answer are still in it. Errors: INVALID_ARGUMENT, GUEST_PROTOCOL (another answer),
 * API_TRANSPORT (refused each time), TIMEOUT. `udsPath` is that socket, `port` the guest's port.
 */
export async function connectVsock(
  udsPath: string,
  port: number,
  options: ConnectVsockOptions = {},
): Promise<Socket> {
  const { signal, timeoutMs = 10_000, attempts = 5 } = options
  if (!Number.isInteger(port) || port < 0 || port > 0xffff_ffff)
    throw new VarveError('INVALID_ARGUMENT', `vsock port is ${port}; it must be a whole number below 2^32`)
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > 1000)
    throw new VarveError('INVALID_ARGUMENT', `attempts is ${attempts}; it must be from 1 to 1000`)
  const name = `${udsPath} port ${port}`
  const timeout = AbortSignal.timeout(timeoutMs)
  using first = new FirstAbort([timeout, signal])
  const ends = first.signal
  let last: unknown
  try {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      try {
        return await handshake(udsPath, port, ends)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        last = error
      }
      if (attempt < attempts) await sleep(retryDelayMs * attempt, undefined, { signal: ends })
    }
  } catch (error) {
    if (error instanceof VarveError) throw error
    throwIfAborted(signal, `connecting to ${name}`)
    throw new VarveError('TIMEOUT', `${name}: no vsock connection within ${timeoutMs} ms`, {
      cause: last ?? error,
    })
  }
  throw new VarveError('API_TRANSPORT', `${name}: ${(last as Error).message}, ${attempts} times`, {
    cause: last,
    remedy: 'check that the guest runs and that a program in it listens on this vsock port',
  })
}

function handshake(udsPath: string, port: number, ends: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    throwIfAborted(ends, `connecting to ${udsPath}`)
    const socket = connectSocket(udsPath)
    let answer = Buffer.alloc(0)
    const settle = () => {
      ends.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect).off('error', onError).off('end', onEnd).off('readable', onReadable)
    }
    const fail = (error: unknown) => {
      settle()
      // A late error of a socket that is given up has no one to tell.
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onAbort = () => fail(ends.reason)
    const onConnect = () => socket.write(`CONNECT ${port}\n`)
    const onError = (cause: Error) => fail(new Refused(cause.message, { cause }))
    const onEnd = () => fail(new Refused('closed without an answer'))
    const onReadable = () => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      answer = Buffer.concat([answer, chunk])
      const end = answer.indexOf('\n')
      const line = answer.toString('latin1', 0, end < 0 ? answer.length : end)
      if (end < 0 ? answer.length > maxAnswerBytes : !/^OK \d{1,10}$/.test(line))
        return fail(
          new VarveError(
            'GUEST_PROTOCOL',
            `${udsPath} port ${port} answered ${JSON.stringify(line.slice(0, maxAnswerBytes))}, not "OK <port>"`,
          ),
        )
      if (end < 0) return
      settle()
      const rest = answer.subarray(end + 1)
      if (rest.length > 0) socket.unshift(rest)
      resolve(socket)
    }
    ends.addEventListener('abort', onAbort)
    socket.on('connect', onConnect).on('error', onError).on('end', onEnd).on('readable', onReadable)
  })
}
