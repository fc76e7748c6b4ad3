import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { VarveError } from 'varve'
import { abortError } from 'varve/testing'
import { type HttpLimits, maxHeaderBytes } from './limits.js'

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
  readonly url: URL
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>
  /** Default: none. */
  readonly body?: Uint8Array | undefined
  readonly signal?: AbortSignal | undefined
  /** It ends an upload, for which the server may work long: `commitMs` is its limit. Default false. */
  readonly commits?: boolean
}

/** What was answered. `body` must be read to its end or be destroyed. */
export interface HttpResponse {
  readonly status: number
  /** Empty if the header is missing; several of one name are joined by ', '. */
  header(name: string): string
  readonly body: AsyncIterable<Buffer>
  /** Ends the connection. */
  destroy(): void
}

/** Connections are kept: a push has hundreds of small requests. `unref`ed by Node while idle. */
const agents = {
  'http:': new HttpAgent({ keepAlive: true, maxSockets: 16, timeout: 60_000 }),
  'https:': new HttpsAgent({ keepAlive: true, maxSockets: 16, timeout: 60_000 }),
}

/** The request without what may be secret: queries hold tokens, and so do paths of upload sessions. */
export const nameOf = ({ method, url }: Pick<HttpRequest, 'method' | 'url'>): string =>
  `${method} ${url.origin}${url.pathname.length > 200 ? `${url.pathname.slice(0, 200)}…` : url.pathname}`

export function unreachable(request: HttpRequest, why: string, cause?: unknown): VarveError {
  return new VarveError('PLACE_UNREACHABLE', `${nameOf(request)}: ${why}`, { cause })
}

/** Sends one request and gives its answer; follows nothing, repeats nothing. PLACE_UNREACHABLE. */
export function exchange(request: HttpRequest, given: HttpLimits): Promise<HttpResponse> {
  const { method, url, body, signal, commits = false } = request
  // S3 sends a space now and then until it is done: no rate, but a time for all of it.
  const limits = commits ? { ...given, idleMs: given.commitMs, minBytesPerSecond: Infinity } : given
  if (signal?.aborted) return Promise.reject(abortError(signal, nameOf(request)))
  const secure = url.protocol === 'https:'
  const headers: Record<string, string | number> = { 'user-agent': 'varve', ...request.headers }
  if (body !== undefined || method === 'PUT' || method === 'POST' || method === 'PATCH')
    headers['content-length'] = body?.length ?? 0
  return new Promise((resolve, reject) => {
    const sent = (secure ? httpsRequest : httpRequest)(url, {
      method,
      headers,
      agent: secure ? agents['https:'] : agents['http:'],
      maxHeaderSize: maxHeaderBytes,
      signal,
    })
    sent.setTimeout(limits.idleMs, () =>
      sent.destroy(unreachable(request, `nothing came for ${limits.idleMs / 1000} s`)),
    )
    sent.on('error', (error) => reject(asVarveError(request, error)))
    sent.on('response', (message) => resolve(answerOf(request, message, limits)))
    sent.end(body)
  })
}

function answerOf(request: HttpRequest, message: IncomingMessage, limits: HttpLimits): HttpResponse {
  return {
    status: message.statusCode ?? 0,
    header: (name) => {
      const value = message.headers[name]
      return Array.isArray(value) ? value.join(', ') : (value ?? '')
    },
    body: bodyOf(request, message, limits),
    destroy: () => void message.destroy(),
  }
}

/** Ends a body that comes too slowly. Only the time counts in which the reader waits. */
async function* bodyOf(
  request: HttpRequest,
  message: IncomingMessage,
  { idleMs, minBytesPerSecond }: HttpLimits,
): AsyncGenerator<Buffer> {
  let waitedMs = 0
  let bytes = 0
  const pieces = message[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  try {
    for (;;) {
      const start = performance.now()
      const { done, value } = await pieces.next()
      waitedMs += performance.now() - start
      if (done === true) break
      bytes += value.length
      if (waitedMs > idleMs && bytes * 1000 < minBytesPerSecond * (waitedMs - idleMs))
        throw unreachable(request, `only ${bytes} bytes came in ${Math.round(waitedMs / 1000)} s`)
      yield value
    }
    if (!message.complete) throw unreachable(request, `the answer ended after ${bytes} bytes`)
  } catch (error) {
    throw asVarveError(request, error)
  } finally {
    // Also if the reader stops early: what it left would come before the next answer of this connection.
    if (!message.complete) message.destroy()
  }
}

function asVarveError(request: HttpRequest, error: unknown): VarveError {
  if (error instanceof VarveError) return error
  if (request.signal?.aborted) return abortError(request.signal, nameOf(request))
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'HPE_HEADER_OVERFLOW')
    return new VarveError(
      'PLACE_REFUSED',
      `${nameOf(request)}: the answer has more than ${maxHeaderBytes} bytes of headers`,
      { cause: error },
    )
  return unreachable(request, code ?? message, error)
}
