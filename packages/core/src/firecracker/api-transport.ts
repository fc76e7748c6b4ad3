import { Agent, type IncomingMessage, request } from 'node:http'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { connectSocket } from '../sys/connect-socket.js'

/** Firecracker's largest answers are MMDS contents and vm/config; far below this. */
const maxResponseBytes = 4 * 1024 * 1024

interface ApiResponse {
  readonly status: number
  /** Parsed JSON, or undefined if the body is empty. */
  readonly body: unknown
  /** True if Firecracker marks a used field as deprecated. */
  readonly deprecated: boolean
}

export interface ApiTransport extends Disposable {
  /**
   * One HTTP/1.1 exchange over the kept-alive Unix socket. Resolves with any status; rejects
   * with API_TRANSPORT when the socket fails first. Requests are sent one at a time:
   * Firecracker handles one at a time anyway.
   */
  exchange(
    method: string,
    path: string,
    body: object | undefined,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<ApiResponse>
}

export function openApiTransport(socketPath: string): ApiTransport {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  // Never follow a link: a jailed VMM could replace its socket by one.
  agent.createConnection = () => connectSocket(socketPath)
  return {
    exchange: (method, path, body, options = {}) =>
      exchange(agent, socketPath, method, path, body, options.signal),
    [Symbol.dispose]: () => agent.destroy(),
  }
}

function exchange(
  agent: Agent,
  socketPath: string,
  method: string,
  path: string,
  body: object | undefined,
  signal: AbortSignal | undefined,
): Promise<ApiResponse> {
  // Chunked bodies are refused by Firecracker: the length is always set.
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  const headers: Record<string, string | number> = { accept: 'application/json' }
  if (payload) {
    headers['content-type'] = 'application/json'
    headers['content-length'] = payload.length
  }
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(
        signal?.aborted
          ? abortError(signal, `${method} ${path}`)
          : new VarveError('API_TRANSPORT', `${method} ${path} on ${socketPath}: ${cause.message}`, {
              cause,
            }),
      )
    const outgoing = request({ agent, socketPath, method, path, headers, signal }, (response) => {
      collect(response).then((text) => {
        try {
          resolve({
            status: response.statusCode ?? 0,
            body: text === '' ? undefined : JSON.parse(text),
            deprecated: response.headers.deprecation === 'true',
          })
        } catch (cause) {
          fail(cause as Error)
        }
      }, fail)
    })
    // `on`, not `once`: a socket can fail again after an abort, and an error
    // without a listener ends this process.
    outgoing.on('error', fail)
    outgoing.end(payload)
  })
}

async function collect(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let total = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length
    if (total > maxResponseBytes) throw new Error(`answer exceeds ${maxResponseBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
