import { randomUUID } from 'node:crypto'
import {
  assertTag,
  type Descriptor,
  type Digest,
  notFound,
  type Reference,
  type RefSource,
  referencedSnapshot,
  referenceTo,
  type SourceOptions,
  throwIfAborted,
} from 'varve'
import { hashBytes, manifestFromJson, mediaTypes, tagPattern } from 'varve/testing'
import { bodyBytes, discard, unexpected } from '../http/http-client.js'
import { emptyConfig } from '../place/artifact.js'
import { parentOf } from '../place/parent-of.js'
import { Turns } from '../place/turns.js'
import type { RegistryBlobs } from './registry-blobs.js'
import {
  artifactTypeOf,
  type FetchedManifest,
  getManifest,
  nothingType,
  putManifest,
  tagsOf,
} from './registry-manifests.js'
import type { RegistrySession } from './registry-session.js'

/**
 * The tags of a repository that name snapshots. A registry has no compare-and-set: between processes that
 * write one tag within the same round trip, the later one wins and the other may not be told
 * (docs/formats/remote-store.md).
 */
export class RegistryRefs implements RefSource {
  readonly #session: RegistrySession
  readonly #blobs: RegistryBlobs
  /** Within this process, one change of a tag at a time. */
  readonly #turns = new Turns()

  constructor(session: RegistrySession, blobs: RegistryBlobs) {
    this.#session = session
    this.#blobs = blobs
  }

  get location(): string {
    return this.#blobs.location
  }

  async read(name: string, options: SourceOptions = {}): Promise<Descriptor | undefined> {
    assertTag(name)
    throwIfAborted(options.signal, `a look at ${name}`)
    const manifest = await getManifest(this.#session, name, options)
    if (manifest === undefined || artifactTypeOf(manifest) === nothingType) return undefined
    return this.#target(name, manifest, options)
  }

  compareAndSet(
    name: string,
    expected: Digest | null,
    next: Descriptor | null,
    options: SourceOptions = {},
  ): Promise<boolean> {
    return this.#turns.take(name, async () => {
      assertTag(name)
      const target = next && referenceTo(referencedSnapshot(next))
      throwIfAborted(options.signal, `the change of ${name}`)
      const bytes = target === null ? null : await this.#manifestBytes(target.digest, options)
      const there = await getManifest(this.#session, name, options)
      const now = there === undefined || artifactTypeOf(there) === nothingType ? null : there.digest
      if (now !== expected) return false
      if (bytes === null) {
        if (now !== null) await this.removeTag(name, options)
        return true
      }
      const condition: Record<string, string> =
        there === undefined ? { 'if-none-match': '*' } : { 'if-match': `"${there.digest}"` }
      // Refused or not, what the tag means now decides: if the answer to a PUT is lost, it is sent again, and
      // refused because of itself.
      await putManifest(this.#session, name, bytes, { ...options, condition })
      return (await getManifest(this.#session, name, options))?.digest === target?.digest
    })
  }

  async *list(options: SourceOptions = {}): AsyncGenerator<Reference> {
    for await (const name of tagsOf(this.#session, options)) {
      throwIfAborted(options.signal, `the list of ${this.location}`)
      if (!tagPattern.test(name) || name.startsWith('sha256-')) continue
      const manifest = await getManifest(this.#session, name, options)
      // Removed meanwhile, or something else than a snapshot: images may lie in the same repository.
      if (manifest === undefined || artifactTypeOf(manifest) !== mediaTypes.snapshot) continue
      yield { name, target: await this.#target(name, manifest, options) }
    }
  }

  /** What the tag means, with what its config says of the parent. */
  async #target(
    name: string,
    { digest, bytes }: FetchedManifest,
    options: SourceOptions,
  ): Promise<Descriptor> {
    const { id, createdAt, config } = manifestFromJson(bytes, `${this.location}:${name}`)
    const parent = await parentOf(this.#blobs, config, options)
    return referenceTo({ id, parent, createdAt, manifest: { mediaType: '', digest, size: bytes.length } })
  }

  /** As a manifest, or as the blob that `put` made of it. */
  async #manifestBytes(digest: Digest, options: SourceOptions): Promise<Buffer> {
    const there = await getManifest(this.#session, digest, options)
    if (there !== undefined) return there.bytes
    const { signal } = options
    const { request, response } = await this.#session.request({
      method: 'GET',
      path: `blobs/${digest}`,
      signal,
    })
    if (response.status === 404) {
      await discard(response)
      throw notFound('blob', `no blob ${digest} in ${this.location}`)
    }
    if (response.status !== 200) throw await unexpected(request, response)
    const bytes = await bodyBytes(request, response)
    if (hashBytes(bytes) !== digest) throw await unexpected(request, response)
    return bytes
  }

  /**
   * Registries that delete no tag delete manifests by digest, with all tags that mean them. So the tag is
   * given a manifest of its own first, which names nothing. A registry that deletes no manifests either keeps
   * that one: then the tag stays in its list, and means nothing.
   */
  async removeTag(name: string, options: SourceOptions): Promise<void> {
    const { signal } = options
    const removed = async (reference: string) => {
      const { request, response } = await this.#session.request({
        method: 'DELETE',
        path: `manifests/${reference}`,
        right: 'push',
        signal,
      })
      if ([200, 202, 204].includes(response.status)) {
        await discard(response)
        return true
      }
      if ([400, 404, 405, 415].includes(response.status)) {
        await discard(response)
        return false
      }
      throw await unexpected(request, response)
    }
    if (await removed(name)) return
    await this.#blobs.put(emptyConfig.blob, [emptyConfig.bytes], options)
    const nothing = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        artifactType: nothingType,
        config: emptyConfig.descriptor,
        layers: [emptyConfig.descriptor],
        annotations: { 'dev.varve.name': randomUUID() },
      }),
    )
    await putManifest(this.#session, name, nothing, options)
    await removed(hashBytes(nothing))
  }
}
