import type { BlobSource, Descriptor, Digest, SourceOptions } from 'varve'
import { hashBytes, hexOf, isDigest, maxSmallBytes, mediaTypes } from 'varve/testing'
import { bodyBytes, discard, unexpected } from '../http/http-client.js'
import { type ArtifactSource, maxReferrers } from '../place/remote-place.js'
import type { BucketSession } from './bucket-session.js'
import { listObjects } from './list-objects.js'

const idKey = (id: string) => `ids/${id}`
const setsOf = (subject: Digest) => `sets/${hexOf(subject)}/`

/** The manifests below a prefix of a bucket: blobs as all others, and small objects that find them. */
export class BucketArtifacts implements ArtifactSource {
  readonly #session: BucketSession
  readonly #blobs: BlobSource

  constructor(session: BucketSession, blobs: BlobSource) {
    this.#session = session
    this.#blobs = blobs
  }

  async putSnapshot(manifest: Buffer, id: string, options: SourceOptions = {}): Promise<void> {
    const digest = hashBytes(manifest)
    await this.#blobs.put({ digest, sizeBytes: manifest.length }, [manifest], options)
    await this.#putSmall(idKey(id), Buffer.from(digest), options)
  }

  async findSnapshot(id: string, { signal }: SourceOptions = {}): Promise<Digest | undefined> {
    const { request, response } = await this.#session.request({ method: 'GET', key: idKey(id), signal })
    if (response.status === 404) {
      await discard(response)
      return undefined
    }
    if (response.status !== 200) throw await unexpected(request, response)
    const digest = (await bodyBytes(request, response, 256)).toString('utf8')
    return isDigest(digest) ? digest : undefined
  }

  async forgetSnapshot(id: string, options: SourceOptions = {}): Promise<boolean> {
    if ((await this.findSnapshot(id, options)) === undefined) return false
    const { signal } = options
    const { request, response } = await this.#session.request({ method: 'DELETE', key: idKey(id), signal })
    if (response.status !== 204 && response.status !== 200) throw await unexpected(request, response)
    await discard(response)
    return true
  }

  async putReferrer(subject: Descriptor, artifact: Buffer, options: SourceOptions = {}): Promise<void> {
    const digest = hashBytes(artifact)
    await this.#blobs.put({ digest, sizeBytes: artifact.length }, [artifact], options)
    await this.#putSmall(`${setsOf(subject.digest)}${hexOf(digest)}`, Buffer.alloc(0), options)
  }

  /** Only working sets are kept so; another type has none. */
  async referrers(
    subject: Digest,
    artifactType: string,
    options: SourceOptions = {},
  ): Promise<readonly Descriptor[]> {
    const found: Descriptor[] = []
    if (artifactType !== mediaTypes.workingSet) return found
    for await (const key of listObjects(this.#session, setsOf(subject), options)) {
      const digest = `sha256:${key.slice(setsOf(subject).length)}`
      if (!isDigest(digest) || found.length === maxReferrers) continue
      const size = (await this.#blobs.stat(digest, options))?.sizeBytes
      if (size !== undefined && size <= maxSmallBytes)
        found.push({ mediaType: mediaTypes.manifest, digest, size })
    }
    return found
  }

  async #putSmall(key: string, body: Buffer, { signal }: SourceOptions): Promise<void> {
    const { request, response } = await this.#session.request({
      method: 'PUT',
      key,
      body,
      bodyHex: hexOf(hashBytes(body)),
      signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    await discard(response)
  }
}
