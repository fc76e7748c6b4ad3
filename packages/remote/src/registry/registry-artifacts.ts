import type { Descriptor, Digest, SourceOptions } from 'varve'
import { descriptorFromJson, Fields, hashBytes, hexOf, mediaTypes, parseJson } from 'varve/testing'
import { bodyBytes, discard, refused, unexpected } from '../http/http-client.js'
import { type ArtifactSource, maxReferrers } from '../place/remote-place.js'
import { Turns } from '../place/turns.js'
import { artifactTypeOf, getManifest, nextPage, nothingType, putManifest } from './registry-manifests.js'
import type { RegistryRefs } from './registry-refs.js'
import type { RegistrySession } from './registry-session.js'

/** The distribution specification's "referrers tag schema", for registries without the referrers API. */
const fallbackTag = (subject: Digest) => `sha256-${hexOf(subject)}`

/** How often an index at a fallback tag is written again if another writer was faster. */
const fallbackTries = 8

/** The manifests of a repository: a snapshot has its id as a tag, working sets are referrers. */
export class RegistryArtifacts implements ArtifactSource {
  readonly #session: RegistrySession
  readonly #refs: RegistryRefs
  readonly #turns = new Turns()

  constructor(session: RegistrySession, refs: RegistryRefs) {
    this.#session = session
    this.#refs = refs
  }

  async putSnapshot(manifest: Buffer, id: string, options: SourceOptions = {}): Promise<void> {
    await putManifest(this.#session, id, manifest, options)
  }

  async findSnapshot(id: string, options: SourceOptions = {}): Promise<Digest | undefined> {
    const manifest = await getManifest(this.#session, id, options)
    return manifest === undefined || artifactTypeOf(manifest) === nothingType ? undefined : manifest.digest
  }

  async forgetSnapshot(id: string, options: SourceOptions = {}): Promise<boolean> {
    if ((await this.findSnapshot(id, options)) === undefined) return false
    await this.#refs.removeTag(id, options)
    return true
  }

  async putReferrer(subject: Descriptor, artifact: Buffer, options: SourceOptions = {}): Promise<void> {
    const digest = hashBytes(artifact)
    // A tag of its own: docker-registry's garbage collection removes what only an index names.
    const tag = `${fallbackTag(subject.digest)}.${hexOf(digest).slice(0, 16)}`
    const { headers } = await putManifest(this.#session, tag, artifact, options)
    // A registry that keeps referrers says so with this header.
    if (headers('oci-subject') !== '') return
    const { artifactType, annotations } = JSON.parse(artifact.toString('utf8')) as Record<string, unknown>
    const entry = { mediaType: mediaTypes.manifest, digest, size: artifact.length, artifactType, annotations }
    await this.#turns.take(subject.digest, () => this.#addToFallback(subject.digest, entry, options))
  }

  async referrers(
    subject: Digest,
    artifactType: string,
    options: SourceOptions = {},
  ): Promise<readonly Descriptor[]> {
    const entries =
      (await this.#listed(subject, artifactType, options)) ?? (await this.#fallback(subject, options))
    // A registry may leave the filter to the client.
    return entries
      .filter((it) => (it as { artifactType?: unknown } | null)?.artifactType === artifactType)
      .map((it) => descriptorFromJson(`the referrers of ${subject}`, it, 'manifests'))
  }

  /** What the referrers API says; undefined if the registry has none. */
  async #listed(
    subject: Digest,
    artifactType: string,
    { signal }: SourceOptions,
  ): Promise<readonly unknown[] | undefined> {
    const all: unknown[] = []
    let path: URL | undefined = this.#session.url(`referrers/${subject}`)
    path.searchParams.set('artifactType', artifactType)
    while (path !== undefined) {
      const { request, response } = await this.#session.request({ method: 'GET', path, signal })
      if (response.status === 404) {
        await discard(response)
        return undefined
      }
      if (response.status !== 200) throw await unexpected(request, response)
      const entries = entriesOf(await bodyBytes(request, response), `the referrers of ${subject}`)
      all.push(...entries)
      if (all.length > maxReferrers) throw refused(request, `has more than ${maxReferrers} referrers`)
      path = entries.length === 0 ? undefined : nextPage(this.#session, response.header('link'), request.url)
    }
    return all
  }

  async #fallback(subject: Digest, options: SourceOptions): Promise<readonly unknown[]> {
    const index = await getManifest(this.#session, fallbackTag(subject), options)
    return index === undefined ? [] : entriesOf(index.bytes, `the referrers of ${subject}`)
  }

  /** Reads the index, adds the entry, and looks whether another writer has replaced it meanwhile. */
  async #addToFallback(subject: Digest, entry: { digest: Digest }, options: SourceOptions): Promise<void> {
    const has = (entries: readonly unknown[]) =>
      entries.some((it) => (it as { digest?: unknown } | null)?.digest === entry.digest)
    for (let tries = 0; tries < fallbackTries; tries++) {
      const entries = await this.#fallback(subject, options)
      if (has(entries)) return
      const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [...entries, entry] }
      await putManifest(this.#session, fallbackTag(subject), Buffer.from(JSON.stringify(index)), {
        ...options,
        mediaType: mediaTypes.index,
      })
      if (has(await this.#fallback(subject, options))) return
    }
  }
}

function entriesOf(bytes: Buffer, path: string): readonly unknown[] {
  return new Fields(path, parseJson(bytes, path)).list('manifests', maxReferrers)
}
