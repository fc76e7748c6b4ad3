import { AwsV4Signer } from 'aws4fetch'
import { VarveError } from 'varve'
import type { HttpRequest, HttpResponse } from '../http/exchange.js'
import { send } from '../http/http-client.js'
import type { HttpLimits } from '../http/limits.js'
import { isLoopback } from '../http/loopback.js'
import type { BucketSettings } from './aws-credentials.js'
import { amazonEndpoint, type Provider, providerOf } from './provider.js'

/** SHA-256 of nothing: a signed request without a body says this. */
const emptyHex = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** A request about one object, or about the bucket. */
export interface BucketRequest extends Omit<HttpRequest, 'url'> {
  /** Below the prefix; the bucket itself if it is missing. */
  readonly key?: string
  readonly query?: Readonly<Record<string, string>>
  /** SHA-256 of the body, 64 digits: the server refuses other bytes. Default: that of no body. */
  readonly bodyHex?: string
}

/** Signed requests to one bucket. */
export class BucketSession {
  readonly bucket: string
  readonly limits: HttpLimits
  readonly provider: Provider
  readonly #settings: BucketSettings
  readonly #base: URL
  readonly #prefix: string
  readonly #region: string
  /** aws4fetch keeps the day's signing key here. */
  readonly #keys = new Map<string, ArrayBuffer>()

  constructor(
    { bucket, prefix }: { readonly bucket: string; readonly prefix: string },
    settings: BucketSettings,
    limits: HttpLimits,
  ) {
    this.bucket = bucket
    this.limits = limits
    const endpoint = settings.endpoint ?? amazonEndpoint(settings.region ?? 'us-east-1')
    if (endpoint.protocol === 'http:' && !isLoopback(endpoint.host))
      throw new VarveError('INVALID_ARGUMENT', `the endpoint ${endpoint.origin} is HTTP on another host`, {
        remedy: 'use https://: signatures can be seen and blobs changed on the way',
      })
    this.provider = providerOf(endpoint)
    this.#settings = settings
    this.#region = settings.region ?? this.provider.region
    // The certificates of virtual hosts cover one label: a bucket with a dot needs the path.
    const inHost = this.provider.addressing === 'host' && !bucket.includes('.')
    this.#base = new URL(endpoint)
    if (inHost) this.#base.hostname = `${bucket}.${endpoint.hostname}`
    else this.#base.pathname = `${endpoint.pathname.replace(/\/$/, '')}/${bucket}/`
    this.#prefix = prefix === '' ? '' : `${prefix}/`
  }

  /** The object's whole key in the bucket. */
  fullKey(key: string): string {
    return this.#prefix + key
  }

  /** Sends a signed request; every request of a bucket may be repeated. */
  async request(request: BucketRequest): Promise<{ response: HttpResponse; request: HttpRequest }> {
    const { key, query = {}, bodyHex = emptyHex, headers = {}, ...rest } = request
    const url = new URL(this.#base)
    if (key === undefined) url.pathname = url.pathname.replace(/(?<=.)\/$/, '')
    else url.pathname = `${url.pathname.replace(/\/$/, '')}/${this.fullKey(key)}`
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    const { accessKeyId, secretAccessKey, sessionToken } = this.#settings.credential
    const signer = new AwsV4Signer({
      method: rest.method,
      url: url.href,
      headers: { ...headers, 'x-amz-content-sha256': bodyHex },
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region: this.#region,
      cache: this.#keys,
    })
    const signed = await signer.sign()
    const sent: HttpRequest = {
      ...rest,
      url,
      headers: Object.fromEntries([...new Headers(signed.headers)]),
    }
    // Redirects are not followed: S3's lead to another region, for which the signature would not count.
    return { response: await send(sent, this.limits), request: sent }
  }
}
