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
import { assertRange, checkedContent } from 'varve/testing'
import { discard, unexpected } from '../http/http-client.js'
import { readRange } from '../http/read-range.js'
import { BlobUpload, defaultChunkBytes } from './blob-upload.js'
import { manifestTypes, referencesOf } from './registry-manifests.js'
import type { RegistrySession } from './registry-session.js'

/** Kinds of blobs in a registry: manifests have a path of their own. */
type Kind = 'blobs' | 'manifests'

/** Without these, registries answer 404 for manifests of OCI. */
const accepted: Readonly<Record<Kind, string>> = { blobs: '*/*', manifests: manifestTypes }

/**
 * The blobs of a repository, and its manifests by their digest. A registry lists no blobs: `list` gives those
 * that the references name.
 */
export class RegistryBlobs implements BlobSource {
  readonly #session: RegistrySession
  readonly #mountFrom: readonly string[]
  readonly #chunkBytes: number

  /** `mountFrom`: repositories of the same registry that may have a blob already. */
  constructor(
    session: RegistrySession,
    mountFrom: readonly string[] = [],
    chunkBytes: number = defaultChunkBytes,
  ) {
    this.#session = session
    this.#mountFrom = mountFrom
    this.#chunkBytes = chunkBytes
  }

  get location(): string {
    return `${this.#session.host}/${this.#session.repository}`
  }

  async stat(digest: Digest, options: SourceOptions = {}): Promise<BlobStat | undefined> {
    const found = await this.#find(digest, options)
    return found && { sizeBytes: found.sizeBytes }
  }

  async open(digest: Digest, options: SourceOptions = {}): Promise<OpenBlob> {
    const found = await this.#find(digest, options)
    if (found === undefined) throw notFound('blob', `no blob ${digest} in ${this.location}`)
    const { sizeBytes, kind } = found
    return {
      sizeBytes,
      read: async (range: ByteRange, { signal }: SourceOptions = {}) => {
        throwIfAborted(signal, `the reading of ${digest}`)
        assertRange(range, sizeBytes, digest)
        return readRange(
          range,
          (headers) =>
            this.#session.request({
              method: 'GET',
              path: `${kind}/${digest}`,
              headers: { accept: accepted[kind], ...headers },
              signal,
            }),
          this.#session.limits,
          { digest, signal },
        )
      },
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async put(blob: BlobToPut, content: BlobContent, options: SourceOptions = {}): Promise<void> {
    const isThere = async () =>
      (await this.#find(blob.digest, options, ['blobs']))?.sizeBytes === blob.sizeBytes
    if (await isThere()) return
    const upload = await BlobUpload.begin(this.#session, blob.digest, {
      mountFrom: this.#mountFrom,
      chunkBytes: this.#chunkBytes,
      signal: options.signal,
    })
    if (upload === undefined) return
    try {
      for await (const piece of checkedContent(blob, content, options)) await upload.write(piece)
      await upload.finish(blob.digest).catch(async (error: unknown) => {
        // The registry may have the blob, and only its answer may be lost.
        if (!(await isThere().catch(() => false))) throw error
      })
    } catch (error) {
      await upload.cancel()
      throw error
    }
  }

  async *list(options: SourceOptions = {}): AsyncGenerator<Digest> {
    yield* referencesOf(this.#session, options)
  }

  async remove(digest: Digest, { signal }: SourceOptions = {}): Promise<boolean> {
    throwIfAborted(signal, `the removal of ${digest}`)
    const { request, response } = await this.#session.request({
      method: 'DELETE',
      path: `blobs/${digest}`,
      right: 'push',
      signal,
    })
    if (response.status === 404) {
      await discard(response)
      return false
    }
    if (response.status !== 202 && response.status !== 200) throw await unexpected(request, response)
    await discard(response)
    return true
  }

  async #find(
    digest: Digest,
    { signal }: SourceOptions,
    kinds: readonly Kind[] = ['blobs', 'manifests'],
  ): Promise<{ sizeBytes: number; kind: Kind } | undefined> {
    throwIfAborted(signal, `a look at ${digest}`)
    for (const kind of kinds) {
      const { request, response } = await this.#session.request({
        method: 'HEAD',
        path: `${kind}/${digest}`,
        headers: { accept: accepted[kind] },
        signal,
      })
      await discard(response)
      if (response.status === 404) continue
      const sizeBytes = Number(response.header('content-length') || Number.NaN)
      if (response.status !== 200 || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
        throw await unexpected(request, response)
      return { sizeBytes, kind }
    }
    return undefined
  }
}
