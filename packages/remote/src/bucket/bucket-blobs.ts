import {
  type BlobContent,
  type BlobSource,
  type BlobStat,
  type BlobToPut,
  type ByteRange,
  type Digest,
  notFound,
  type OpenBlob,
  type SourceOptions,
  throwIfAborted,
} from 'varve'
import { assertRange, checkedContent, hexOf, isDigest } from 'varve/testing'
import { discard, unexpected } from '../http/http-client.js'
import { readRange } from '../http/read-range.js'
import type { BucketSession } from './bucket-session.js'
import { listObjects } from './list-objects.js'
import { MultipartUpload } from './multipart-upload.js'

/** A blob up to this size is one PUT, and is in memory meanwhile. */
const maxSinglePutBytes = 64 * 1024 * 1024

const directory = 'blobs/sha256/'
const keyOf = (digest: Digest) => `${directory}${hexOf(digest)}`

/** The blobs below a prefix of a bucket. */
export class BucketBlobs implements BlobSource {
  readonly #session: BucketSession
  readonly location: string
  readonly #maxSinglePutBytes: number

  constructor(session: BucketSession, location: string, maxSingleBytes = maxSinglePutBytes) {
    this.#session = session
    this.location = location
    this.#maxSinglePutBytes = maxSingleBytes
  }

  async stat(digest: Digest, { signal }: SourceOptions = {}): Promise<BlobStat | undefined> {
    throwIfAborted(signal, `a look at ${digest}`)
    const { request, response } = await this.#session.request({ method: 'HEAD', key: keyOf(digest), signal })
    await discard(response)
    if (response.status === 404) return undefined
    const sizeBytes = Number(response.header('content-length') || Number.NaN)
    if (response.status !== 200 || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      throw await unexpected(request, response)
    return { sizeBytes }
  }

  async open(digest: Digest, options: SourceOptions = {}): Promise<OpenBlob> {
    const found = await this.stat(digest, options)
    if (found === undefined) throw notFound('blob', `no blob ${digest} in ${this.location}`)
    const { sizeBytes } = found
    return {
      sizeBytes,
      read: async (range: ByteRange, { signal }: SourceOptions = {}) => {
        throwIfAborted(signal, `the reading of ${digest}`)
        assertRange(range, sizeBytes, digest)
        return readRange(
          range,
          (headers) => this.#session.request({ method: 'GET', key: keyOf(digest), headers, signal }),
          this.#session.limits,
          { digest, signal },
        )
      },
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async put(blob: BlobToPut, content: BlobContent, options: SourceOptions = {}): Promise<void> {
    const isThere = async () => (await this.stat(blob.digest, options))?.sizeBytes === blob.sizeBytes
    if (await isThere()) return
    const checked = checkedContent(blob, content, options)
    if (blob.sizeBytes <= this.#maxSinglePutBytes) await this.#putWhole(blob, checked, options)
    else {
      const key = keyOf(blob.digest)
      await MultipartUpload.put(this.#session, key, blob.sizeBytes, checked, isThere, options.signal)
    }
  }

  async *list(options: SourceOptions = {}): AsyncGenerator<Digest> {
    for await (const key of listObjects(this.#session, directory, options)) {
      const digest = `sha256:${key.slice(directory.length)}`
      if (isDigest(digest)) yield digest
    }
  }

  async remove(digest: Digest, options: SourceOptions = {}): Promise<boolean> {
    // DELETE answers the same if there was nothing.
    if ((await this.stat(digest, options)) === undefined) return false
    const { request, response } = await this.#session.request({
      method: 'DELETE',
      key: keyOf(digest),
      signal: options.signal,
    })
    if (response.status !== 204 && response.status !== 200) throw await unexpected(request, response)
    await discard(response)
    return true
  }

  async #putWhole(
    { digest, sizeBytes }: BlobToPut,
    content: AsyncIterable<Uint8Array>,
    { signal }: SourceOptions,
  ): Promise<void> {
    const body = Buffer.allocUnsafe(sizeBytes)
    let at = 0
    for await (const piece of content) {
      body.set(piece, at)
      at += piece.length
    }
    const { request, response } = await this.#session.request({
      method: 'PUT',
      key: keyOf(digest),
      body,
      bodyHex: hexOf(digest),
      signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    await discard(response)
  }
}
