import type { Socket } from 'node:net'
import { connectVsock, type ErrorCode, throwIfAborted, VarveError } from 'varve'
import { type AgentFrame, AgentFrameReader, encodeAgentFrame } from './agent-frames.js'

/**
 * A connection that goes dead after its handshake is given up after this long; a
 * slow (emulated) guest needs ~1 s.
 */
const pingTimeoutMs = 5_000
const retryDelayMs = 100

/** How a connection fails while the guest boots or right after a restore. */
const transient: readonly ErrorCode[] = ['API_TRANSPORT', 'TIMEOUT', 'INTERRUPTED']

/**
 * The connection ended before an answer: nothing is known but that it is worth
 * another try if nothing was asked yet.
 */
export class ConnectionLost extends Error {}

export interface ProvenConnection {
  readonly socket: Socket
  /** What the agent said of itself. */
  readonly hello: AgentFrame
}

/**
 * A connection on which the agent has answered a ping. A connection made right after a restore can be
 * accepted and then reset; trying again is safe for a ping, but an invocation must not run twice, so it is
 * sent only on one of these.
 */
export async function provenConnection(
  vsockPath: string,
  port: number,
  ends: AbortSignal,
): Promise<ProvenConnection> {
  const ping = encodeAgentFrame({ op: 'ping' }, Buffer.alloc(0))
  for (;;) {
    throwIfAborted(ends, `connecting to ${vsockPath}`)
    let socket: Socket | undefined
    try {
      socket = await connectVsock(vsockPath, port, { signal: ends, attempts: 1, timeoutMs: pingTimeoutMs })
      const soon = AbortSignal.any([ends, AbortSignal.timeout(pingTimeoutMs)])
      return { socket, hello: await exchange(socket, ping, soon) }
    } catch (error) {
      socket?.destroy()
      if (error instanceof VarveError && !transient.includes(error.code)) throw error
      throwIfAborted(ends, `connecting to ${vsockPath}`)
    }
    await new Promise((done) => setTimeout(done, retryDelayMs))
  }
}

/** Sends one request and reads its reply; the connection stays usable. */
export function exchange(socket: Socket, request: Buffer, ends: AbortSignal): Promise<AgentFrame> {
  return new Promise((resolve, reject) => {
    if (ends.aborted) return reject(ends.reason)
    const reader = new AgentFrameReader()
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
    ends.addEventListener('abort', onAbort)
    socket.on('error', (cause) => fail(new ConnectionLost(cause.message, { cause })))
    socket.on('close', () => fail(new ConnectionLost('closed')))
    socket.on('data', (chunk: Buffer) => {
      try {
        const frame = reader.push(chunk)
        if (frame === undefined) return
        settle()
        resolve(frame)
      } catch (error) {
        fail(error)
      }
    })
    socket.write(request)
  })
}
