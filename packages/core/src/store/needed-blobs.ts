import { parseJson } from '../content/checked-json.js'
import type { Digest } from '../content/descriptors.js'
import { isDigest, maxSmallBytes } from '../content/descriptors.js'
import { isVarveError, VarveError } from '../errors.js'
import { readSmallFile } from '../sys/small-file.js'
import { entriesOf, manifestFromJson } from './manifest.js'
import type { ReferenceIndex } from './reference-index.js'
import type { Repository } from './repository.js'

/**
 * The blobs that references and leases need. The set only grows; each manifest is read once, because it never
 * changes.
 */
export class NeededBlobs {
  readonly #repository: Repository
  readonly #digests = new Set<Digest>()
  readonly #manifests = new Set<Digest>()
  readonly #foreign = new Set<string>()

  constructor(repository: Repository) {
    this.#repository = repository
  }

  has(digest: Digest): boolean {
    return this.#digests.has(digest)
  }

  get all(): ReadonlySet<Digest> {
    return this.#digests
  }

  /** All that an index names. FORMAT_INVALID if that cannot be read: then nothing may be removed. */
  async addIndex({ snapshots, foreign }: ReferenceIndex): Promise<void> {
    for (const { manifest } of snapshots) this.#addManifest(manifest.digest)
    for (const entry of foreign) {
      const key = JSON.stringify(entry)
      if (this.#foreign.has(key)) continue
      for (const digest of await neededByForeign(this.#repository, entry)) this.#digests.add(digest)
      this.#foreign.add(key)
    }
  }

  /**
   * Adds the manifest that a lease names; its snapshot may have another one now (packed or squashed since).
   */
  addLease({ manifest }: { readonly manifest: Digest }): void {
    try {
      this.#addManifest(manifest)
    } catch (error) {
      // The holder of the lease found no manifest there either.
      if (!isVarveError((error as Error).cause, 'NOT_FOUND')) throw error
    }
  }

  #addManifest(digest: Digest): void {
    if (this.#manifests.has(digest)) return
    for (const needed of neededBy(this.#repository, digest)) this.#digests.add(needed)
    this.#manifests.add(digest)
  }
}

/** All blobs that a manifest names, and the manifest itself; gc may have put it aside. */
function neededBy({ blobs }: Repository, manifest: Digest): readonly Digest[] {
  try {
    const bytes = readWherever(
      () => blobs.readSmall(manifest),
      () => blobs.readAside(manifest),
    )
    const read = manifestFromJson(bytes, blobs.path(manifest))
    return [manifest, read.config.digest, ...entriesOf(read).map(({ digest }) => digest)]
  } catch (cause) {
    throw new VarveError(
      'FORMAT_INVALID',
      `gc cannot find out which blobs are needed: ${(cause as Error).message}`,
      {
        cause,
        remedy: 'varve fsck says what is wrong; import the snapshot again, or remove its tags, then gc again',
      },
    )
  }
}

function readWherever(...places: readonly (() => Buffer)[]): Buffer {
  let missing: unknown
  for (const read of places)
    try {
      return read()
    } catch (error) {
      if (!isVarveError(error, 'NOT_FOUND')) throw error
      missing ??= error
    }
  throw missing
}

/** All blobs that another tool's entry leads to: every descriptor in every JSON document from there on. */
async function neededByForeign(repository: Repository, entry: unknown): Promise<ReadonlySet<Digest>> {
  const found = new Set<Digest>()
  const queue: unknown[] = [entry]
  while (queue.length > 0) {
    const value = queue.pop()
    if (typeof value !== 'object' || value === null) continue
    const { digest, mediaType } = value as Record<string, unknown>
    if (isDigest(digest) && !found.has(digest)) {
      found.add(digest)
      const isJson = typeof mediaType === 'string' && mediaType.endsWith('+json')
      const size = (await repository.blobs.stat(digest))?.size
      if (isJson && size !== undefined && size <= maxSmallBytes) {
        const path = repository.blobs.path(digest)
        queue.push(parseJson(readSmallFile(path, maxSmallBytes), path))
      }
    }
    queue.push(...Object.values(value))
  }
  return found
}
