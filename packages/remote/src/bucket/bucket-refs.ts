import { randomBytes } from 'node:crypto'
import {
  assertTag,
  type BlobSource,
  type Descriptor,
  type Digest,
  notFound,
  type Reference,
  type RefSource,
  referencedSnapshot,
  referenceTo,
  type SourceOptions,
  throwIfAborted,
  VarveError,
} from 'varve'
import { descriptorFromJson, Fields, hashBytes, hexOf, parseJson, tagPattern } from 'varve/testing'
import { bodyBytes, discard, unexpected } from '../http/http-client.js'
import type { BucketSession } from './bucket-session.js'
import { listObjects } from './list-objects.js'

const directory = 'refs/'
const format = 'varve-reference'
const maxReferenceBytes = 4096
const probeKey = 'varve-probe'

interface KeptReference {
  /** Null: the name means nothing any more. */
  readonly target: Descriptor | null
  /** Of the PUT that made it: random. */
  readonly write: string
  readonly etag: string
}

/** The references below a prefix of a bucket: one small object each, changed by conditional PUTs. */
export class BucketRefs implements RefSource {
  readonly #session: BucketSession
  readonly #blobs: BlobSource
  #probe: Promise<void> | undefined

  constructor(session: BucketSession, blobs: BlobSource) {
    this.#session = session
    this.#blobs = blobs
  }

  get location(): string {
    return this.#blobs.location
  }

  async read(name: string, options: SourceOptions = {}): Promise<Descriptor | undefined> {
    assertTag(name)
    return (await this.#read(name, options))?.target ?? undefined
  }

  async compareAndSet(
    name: string,
    expected: Digest | null,
    next: Descriptor | null,
    options: SourceOptions = {},
  ): Promise<boolean> {
    assertTag(name)
    const target = next && referenceTo(referencedSnapshot(next))
    if (target !== null && (await this.#blobs.stat(target.digest, options)) === undefined)
      throw notFound('blob', `no blob ${target.digest} in ${this.location}`)
    await this.#assertConditional(options)
    const now = await this.#read(name, options)
    if ((now?.target?.digest ?? null) !== expected) return false
    if (now === undefined && target === null) return true
    const write = randomBytes(16).toString('hex')
    const body = Buffer.from(JSON.stringify({ format, version: 1, write, target }))
    const condition: Record<string, string> =
      now === undefined ? { 'if-none-match': '*' } : { 'if-match': now.etag }
    if (await this.#put(`${directory}${name}`, body, condition, options)) return true
    // If the answer to a PUT is lost, it is sent again, and refused because of itself.
    return (await this.#read(name, options))?.write === write
  }

  async *list(options: SourceOptions = {}): AsyncGenerator<Reference> {
    for await (const key of listObjects(this.#session, directory, options)) {
      const name = key.slice(directory.length)
      if (!tagPattern.test(name)) continue
      const target = await this.read(name, options)
      if (target !== undefined) yield { name, target }
    }
  }

  async #read(name: string, { signal }: SourceOptions): Promise<KeptReference | undefined> {
    throwIfAborted(signal, `a look at ${name}`)
    const { request, response } = await this.#session.request({
      method: 'GET',
      key: `${directory}${name}`,
      signal,
    })
    if (response.status === 404) {
      await discard(response)
      return undefined
    }
    if (response.status !== 200) throw await unexpected(request, response)
    const etag = response.header('etag')
    const path = `${this.location}, refs/${name}`
    const fields = new Fields(path, parseJson(await bodyBytes(request, response, maxReferenceBytes), path))
    fields.text('format', /^varve-reference$/, JSON.stringify(format))
    if (fields.whole('version', 1, 2 ** 31) > 1)
      throw new VarveError('FORMAT_UNSUPPORTED', `${path} is of a newer version`, {
        remedy: 'use a newer Varve',
      })
    const target = fields.raw('target')
    return {
      target: target === null ? null : descriptorFromJson(path, target, 'target'),
      write: fields.text('write', /^[0-9a-f]{32}$/, '32 hexadecimal digits'),
      etag,
    }
  }

  /** False if the condition did not hold. */
  async #put(
    key: string,
    body: Buffer,
    condition: Readonly<Record<string, string>>,
    { signal }: SourceOptions,
  ): Promise<boolean> {
    const { request, response } = await this.#session.request({
      method: 'PUT',
      key,
      headers: { 'content-type': 'application/json', ...condition },
      body,
      bodyHex: hexOf(hashBytes(body)),
      signal,
    })
    // 409: another conditional PUT of the same key was at work. 404: If-Match, and there is no object.
    if ([412, 409, 404].includes(response.status)) {
      await discard(response)
      return false
    }
    if (response.status !== 200) throw await unexpected(request, response)
    await discard(response)
    return true
  }

  /** A server that ignores conditions would lose references without a word. */
  #assertConditional(options: SourceOptions): Promise<void> {
    this.#probe ??= this.#probeOnce(options).catch((error: unknown) => {
      this.#probe = undefined
      throw error
    })
    return this.#probe
  }

  async #probeOnce(options: SourceOptions): Promise<void> {
    const body = Buffer.from('{}')
    const put = (condition: Record<string, string>) => this.#put(probeKey, body, condition, options)
    await put({ 'if-none-match': '*' })
    const ignored = (await put({ 'if-none-match': '*' }))
      ? 'If-None-Match'
      : (await put({ 'if-match': `"${'0'.repeat(32)}"` }))
        ? 'If-Match'
        : undefined
    if (ignored !== undefined)
      throw new VarveError(
        'PLACE_REFUSED',
        `the server of ${this.location} ignores ${ignored} of a PUT, so a reference there could be lost`,
        { remedy: 'use a server with conditional writes' },
      )
  }
}
