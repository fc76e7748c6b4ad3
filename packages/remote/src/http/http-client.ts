import { VarveError } from 'varve'
import { exchange, type HttpRequest, type HttpResponse, nameOf } from './exchange.js'
import { type HttpLimits, maxDocumentBytes, maxRedirects } from './limits.js'
import { retrying } from './retry.js'

/** Headers that only the host they were made for may see. */
const credentials = ['authorization', 'cookie', 'proxy-authorization']

/**
 * Sends a request, repeats it while the server fails (429, 5xx, no answer), and gives any other answer. Every
 * request must have the same effect if it arrives twice. PLACE_UNREACHABLE.
 */
export function send(request: HttpRequest, limits: HttpLimits): Promise<HttpResponse> {
  return retrying(() => sendOnce(request, limits), limits, request.signal, nameOf(request))
}

/** As `send`, but one try: for requests that must not be repeated blindly. */
export async function sendOnce(request: HttpRequest, limits: HttpLimits): Promise<HttpResponse> {
  const response = await exchange(request, limits)
  const { status } = response
  if (status !== 429 && status !== 408 && status < 500) return response
  const words = await errorWords(response)
  const seconds = Number(response.header('retry-after'))
  throw new VarveError('PLACE_UNREACHABLE', `${nameOf(request)} answered ${status}${words}`, {
    details: { status, ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}) },
  })
}

/** An answer, and the URL that gave it: the last one of the redirects. */
export interface Followed {
  readonly response: HttpResponse
  readonly answeredBy: URL
}

/**
 * As `send`, and follows redirects of a GET or HEAD: without credentials to another origin, never from HTTPS
 * to HTTP, five times.
 */
export async function sendFollowing(request: HttpRequest, limits: HttpLimits): Promise<Followed> {
  let now = request
  for (let redirects = 0; ; redirects++) {
    const response = await send(now, limits)
    if (![301, 302, 303, 307, 308].includes(response.status)) return { response, answeredBy: now.url }
    response.destroy()
    if (redirects === maxRedirects)
      throw refused(request, `redirects more than ${maxRedirects} times`, response.status)
    now = { ...now, ...redirected(request, now, response) }
  }
}

function redirected(
  first: HttpRequest,
  { url, headers = {} }: HttpRequest,
  response: HttpResponse,
): Pick<HttpRequest, 'url' | 'headers'> {
  const location = response.header('location')
  if (!URL.canParse(location, url.href)) throw refused(first, 'redirects to nowhere', response.status)
  const next = new URL(location, url)
  if (next.protocol !== 'https:' && !(next.protocol === 'http:' && url.protocol === 'http:'))
    throw refused(first, `redirects from ${url.protocol} to ${next.protocol}`, response.status)
  if (next.username !== '' || next.password !== '')
    throw refused(first, 'redirects to an address with a password', response.status)
  const kept = Object.entries(headers).filter(
    ([name]) => next.origin === url.origin || !credentials.includes(name),
  )
  return { url: next, headers: Object.fromEntries(kept) }
}

/** PLACE_REFUSED: `what` the server did, after the request's name. */
export function refused(request: HttpRequest, what: string, status?: number): VarveError {
  const login =
    status === 401 || status === 403
      ? { remedy: 'check the credentials for this place, and that they may do this' }
      : {}
  return new VarveError('PLACE_REFUSED', `${nameOf(request)} ${what}`, {
    ...login,
    ...(status === undefined ? {} : { details: { status } }),
  })
}

/** PLACE_REFUSED for an answer of another status than expected; reads what the server says about it. */
export async function unexpected(request: HttpRequest, response: HttpResponse): Promise<VarveError> {
  return refused(request, `answered ${response.status}${await errorWords(response)}`, response.status)
}

/** The whole body. PLACE_REFUSED if it is longer than `maxBytes`. */
export async function bodyBytes(
  request: HttpRequest,
  response: HttpResponse,
  maxBytes = maxDocumentBytes,
): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of response.body) {
    length += piece.length
    if (length > maxBytes) throw refused(request, `sent more than ${maxBytes} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** Reads a body that says nothing, so that the connection can be used again; ends it if it is long. */
export async function discard(response: HttpResponse): Promise<void> {
  let length = 0
  try {
    for await (const piece of response.body) {
      length += piece.length
      if (length > 65_536) break
    }
  } catch {
    // The answer was in the status.
  }
}

/** What the server says, at most 200 characters of it: OCI's and S3's error documents have a message. */
async function errorWords(response: HttpResponse): Promise<string> {
  let text = ''
  try {
    for await (const piece of response.body) {
      text += piece.toString('latin1')
      if (text.length > 4096) break
    }
  } catch {
    // What came is enough.
  }
  const said = /"message"\s*:\s*"([^"\\]{1,200})/.exec(text) ?? /<Message>([^<]{1,200})/.exec(text)
  const code = /"code"\s*:\s*"([A-Z_]{1,40})"/.exec(text) ?? /<Code>([A-Za-z]{1,40})</.exec(text)
  const words = [code?.[1], said?.[1]].filter(Boolean).join(': ')
  return words === '' ? '' : ` (${words.replace(/[^\x20-\x7e]/g, '?')})`
}
