import type { HttpRequest, HttpResponse } from '../http/exchange.js'
import {
  bodyBytes,
  type Followed,
  refused,
  send,
  sendFollowing,
  sendOnce,
  unexpected,
} from '../http/http-client.js'
import type { HttpLimits } from '../http/limits.js'
import { isLoopback } from '../http/loopback.js'
import { type Challenge, challengeOf } from './challenge.js'
import type { Credential, FindCredential, PasswordCredential } from './docker-credentials.js'

/** How a session with a registry is opened. */
export interface SessionOptions {
  /** `HOST` or `HOST:PORT`. */
  readonly host: string
  /** The repository that most requests are about. */
  readonly repository: string
  /** Speak HTTP to a host that is not this one. Default false. */
  readonly insecure?: boolean
  readonly credential: FindCredential
  readonly limits: HttpLimits
}

/** What a request is about, besides its URL. */
export interface RegistryRequest extends Omit<HttpRequest, 'url'> {
  /** Below `/v2/`, or a URL that the registry gave. */
  readonly path: string | URL
  /** Default `pull`; `push` includes it. */
  readonly right?: 'pull' | 'push'
  /** Another repository that must be readable: the one to mount from. */
  readonly alsoPull?: string
  /** One try: the request must not be repeated blindly. Default false. */
  readonly once?: boolean
}

/** Docker Hub's registry is not at the address of its name. */
const apiHosts: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' }

/** Requests to one registry, with the token that it asked for. */
export class RegistrySession {
  readonly host: string
  readonly repository: string
  readonly limits: HttpLimits
  readonly #base: URL
  readonly #credential: FindCredential
  /** The Authorization header, by the scopes that it is for. */
  readonly #authorizations = new Map<string, string>()

  constructor({ host, repository, insecure = false, credential, limits }: SessionOptions) {
    this.host = host
    this.repository = repository
    this.limits = limits
    this.#credential = credential
    const plain = insecure || isLoopback(host)
    this.#base = new URL(`${plain ? 'http' : 'https'}://${apiHosts[host] ?? host}/v2/`)
  }

  /** The URL of `path` below the repository. */
  url(path: string): URL {
    return new URL(`${this.repository}/${path}`, this.#base)
  }

  /** Whether a URL that the registry gave is of the registry: only then it sees the token. */
  isOwn(url: URL): boolean {
    return url.origin === this.#base.origin
  }

  /**
   * Sends a request, meets a challenge once, and follows redirects of reads. Any other answer is the
   * caller's.
   */
  async request(request: RegistryRequest): Promise<{ response: HttpResponse; request: HttpRequest }> {
    const { path, right = 'pull', alsoPull, once = false, ...rest } = request
    const url = typeof path === 'string' ? this.url(path) : path
    const scopes = [
      `repository:${this.repository}:${right === 'push' ? 'pull,push' : right}`,
      ...(alsoPull === undefined ? [] : [`repository:${alsoPull}:pull`]),
    ]
    const key = scopes.join(' ')
    const attempt = async (): Promise<Followed & { request: HttpRequest }> => {
      const known = this.isOwn(url) ? this.#authorizations.get(key) : undefined
      const sent: HttpRequest = {
        ...rest,
        url,
        headers: { ...rest.headers, ...(known === undefined ? {} : { authorization: known }) },
      }
      if (rest.method === 'GET' || rest.method === 'HEAD')
        return { ...(await sendFollowing(sent, this.limits)), request: sent }
      const response = await (once ? sendOnce : send)(sent, this.limits)
      return { response, answeredBy: url, request: sent }
    }
    const first = await attempt()
    // A challenge says where the password goes: only the registry may, not what it redirects to.
    if (first.response.status !== 401 || !this.isOwn(first.answeredBy)) return first
    first.response.destroy()
    const challenge = challengeOf(first.response.header('www-authenticate'))
    if (challenge === undefined)
      throw refused(first.request, 'answered 401 without a challenge that Varve knows', 401)
    this.#authorizations.set(key, await this.#authorize(first.request, challenge, scopes))
    const second = await attempt()
    // Never a third time: a registry that refuses its own token would be asked for ever.
    if (second.response.status === 401) {
      this.#authorizations.delete(key)
      throw await unexpected(second.request, second.response)
    }
    return second
  }

  async #authorize(request: HttpRequest, challenge: Challenge, scopes: readonly string[]): Promise<string> {
    const credential = await this.#credential(this.host)
    if (challenge.scheme === 'basic') {
      if (credential?.kind !== 'password')
        throw refused(request, 'wants a user and a password, and none is known for it', 401)
      return basic(credential)
    }
    const wanted = new Set([...scopes, ...challenge.scope.split(' ').filter((it) => it.length > 0)])
    return `Bearer ${await this.#token(request, challenge, [...wanted], credential)}`
  }

  /** Docker's token protocol: GET with Basic, or POST with an identity token as OAuth2's refresh token. */
  async #token(
    request: HttpRequest,
    { realm, service }: Extract<Challenge, { scheme: 'bearer' }>,
    scopes: readonly string[],
    credential: Credential | undefined,
  ): Promise<string> {
    const url = URL.canParse(realm) ? new URL(realm) : undefined
    // A password goes there: so not over HTTP, unless the registry itself is spoken to by HTTP on this host.
    const safe = url?.protocol === 'https:' || (url?.protocol === 'http:' && this.#base.protocol === 'http:')
    if (url === undefined || !safe || (url.protocol === 'http:' && url.hostname !== this.#base.hostname))
      throw refused(request, 'names no HTTPS address to get a token from', 401)
    const { signal } = request
    let asked: HttpRequest
    if (credential?.kind === 'identity token') {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        service,
        client_id: 'varve',
        scope: scopes.join(' '),
        refresh_token: credential.token,
      })
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      asked = { method: 'POST', url, headers, body: Buffer.from(form.toString()), signal }
    } else {
      if (service !== '') url.searchParams.set('service', service)
      for (const scope of scopes) url.searchParams.append('scope', scope)
      const headers = credential === undefined ? {} : { authorization: basic(credential) }
      asked = { method: 'GET', url, headers, signal }
    }
    const response = await send(asked, this.limits)
    if (response.status !== 200) throw await unexpected(asked, response)
    const token = tokenIn(await bodyBytes(asked, response, 1024 * 1024))
    if (token === undefined) throw refused(asked, 'answered without a token')
    return token
  }
}

const basic = ({ user, password }: PasswordCredential) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

function tokenIn(bytes: Buffer): string | undefined {
  try {
    const value = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>
    const token = value.token ?? value.access_token
    // RFC 6750: what a header can carry.
    return typeof token === 'string' && /^[\x21-\x7e]{1,12000}$/.test(token) ? token : undefined
  } catch {
    return undefined
  }
}
