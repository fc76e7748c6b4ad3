import { join } from 'node:path'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { hexOf, maxSmallBytes, mediaTypes } from '../content/descriptors.js'
import { isVarveError, VarveError } from '../errors.js'
import { extentMapFromBytes, maxExtentMapBytes } from '../layer/extent-map-bytes.js'
import { readLayer } from '../layer/layer-file.js'
import { largestLayerBytes } from '../layer/layer-footer.js'
import type { Layer } from '../layer/layer-types.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { wholeMib } from '../memory/units.js'
import { readSmallFile } from '../sys/small-file.js'
import type { ArchivedBlob, ArchiveReader } from './archive-reader.js'
import { assertChain, assertLayerNotes, isMapOf } from './layer-chain.js'
import { entriesOf, manifestFromJson, type SnapshotManifest, storedPagesOf } from './manifest.js'
import type { Repository } from './repository.js'
import { snapshotConfigFromJson } from './snapshot-config.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotConfig, SnapshotEntry, Staging } from './snapshot-types.js'

/** The largest size of a manifest, config or map; other blobs are as large as their descriptors say. */
const largest: Readonly<Record<string, number>> = {
  [mediaTypes.manifest]: maxSmallBytes,
  [mediaTypes.config]: maxSmallBytes,
  [mediaTypes.extentMap]: maxExtentMapBytes,
}

/**
 * A hole takes no room in an archive, but is hashed at some 1.3 GB/s: 1 TiB takes a quarter of an hour.
 * Snapshots of VMs with thin disks have some 100 GiB.
 */
const maxHoleBytes = 2 ** 40
/** Indexes that are kept for the next snapshot over the same layers: 200 MB of memory. */
const maxKeptRuns = 2 ** 24

/** What an import needs of an archive. */
export type ArchiveOfBlobs = Pick<ArchiveReader, 'path' | 'sizeBytes' | 'unpack'>

interface ImportedBlob {
  readonly descriptor: Descriptor
  /** Just unpacked, in staging. */
  readonly path: string
}

/**
 * The blobs of an import, each once: unpacked and hashed, or found in the repository. Sizes are compared
 * before anything is written, so that an archive costs no more than its descriptors say.
 */
export class ImportedBlobs {
  readonly #repository: Repository
  readonly #archive: ArchiveOfBlobs
  readonly #archived: ReadonlyMap<Digest, ArchivedBlob>
  readonly #staging: Staging
  readonly #options: WorkOptions
  readonly #staged = new Map<Digest, ImportedBlob>()
  readonly #takenOver = new Map<Digest, Descriptor>()
  readonly #layers = new Map<Digest, Layer>()
  #keptRuns = 0
  #readBytes = 0
  #holeBytes = 0

  constructor(
    repository: Repository,
    archive: ArchiveOfBlobs,
    archived: ReadonlyMap<Digest, ArchivedBlob>,
    staging: Staging,
    options: WorkOptions,
  ) {
    this.#repository = repository
    this.#archive = archive
    this.#archived = archived
    this.#staging = staging
    this.#options = options
  }

  get staged(): Iterable<ImportedBlob> {
    return this.#staged.values()
  }

  /** Blobs that the archive left out because the store has them. */
  get takenOver(): Iterable<Descriptor> {
    return this.#takenOver.values()
  }

  /** Checks all blobs of a snapshot, and that they belong together: a restore relies on it. */
  async takeSnapshot(entry: SnapshotEntry): Promise<void> {
    await this.#take(entry.manifest)
    const manifest = this.#readManifest(entry)
    await this.#take(manifest.config)
    const { memoryPages } = this.#checkConfig(entry, manifest)
    for (const descriptor of entriesOf(manifest)) await this.#take(descriptor, memoryPages)
    await this.#checkLayers(manifest)
  }

  /** Checks that a snapshot of the store is whole, if blobs of the archive replace the store's. */
  async assertSound(entry: SnapshotEntry): Promise<void> {
    const here = async (descriptor: Descriptor) => {
      if (!this.#staged.has(descriptor.digest)) await this.#repository.blobs.verify(descriptor, this.#options)
    }
    await here(entry.manifest)
    const manifest = this.#readManifest(entry)
    for (const descriptor of [manifest.config, ...entriesOf(manifest)]) await here(descriptor)
    this.#checkConfig(entry, manifest)
    await this.#checkLayers(manifest)
  }

  /**
   * Also checks blobs that no snapshot names, and does not keep them: an archive that is damaged anywhere
   * cannot be trusted.
   */
  async checkTheRest(): Promise<void> {
    for (const [digest, { entry }] of this.#archived) {
      if (this.#staged.has(digest)) continue
      // Hashing a hole of any length takes long. Blobs that Varve writes outside of snapshots have no holes.
      if (entry.isSparse)
        throw this.#refusal(digest, `is sparse (${entry.sizeBytes} bytes), and no snapshot names it`)
      await this.#unpack({ mediaType: mediaTypes.hotPages, digest, size: entry.sizeBytes })
    }
  }

  /**
   * Reads the store's copies of staged blobs: a damaged copy loses its mark, and is replaced when the staged
   * blob is published.
   */
  async compareWithStore(): Promise<void> {
    for (const { descriptor } of this.#staged.values())
      try {
        if ((await this.#repository.blobs.stat(descriptor.digest)) !== undefined)
          await this.#repository.blobs.verify(descriptor, this.#options)
      } catch (error) {
        if (!(error instanceof VarveError) || isVarveError(error, 'INTERRUPTED')) throw error
        await this.#repository.blobs.forget(descriptor.digest)
      }
  }

  async #take(descriptor: Descriptor, memoryPages?: number): Promise<void> {
    const { digest, mediaType, size } = descriptor
    const most =
      mediaType === mediaTypes.layer && memoryPages !== undefined
        ? largestLayerBytes(memoryPages)
        : largest[mediaType]
    const known = this.#staged.get(digest)?.descriptor ?? this.#takenOver.get(digest)
    if (known !== undefined && known.size === size) return
    if (known !== undefined || size > (most ?? size))
      throw this.#refusal(digest, `cannot have the ${size} bytes that its descriptor says`)
    if (this.#archived.has(digest))
      this.#staged.set(digest, { descriptor, path: await this.#unpack(descriptor) })
    else {
      await this.#repository.blobs.assertRight(descriptor, this.#options)
      this.#takenOver.set(digest, descriptor)
    }
  }

  /** Puts a blob of the archive into staging. CHECKSUM_MISMATCH if it is not what its descriptor says. */
  async #unpack({ digest, mediaType, size }: Descriptor): Promise<string> {
    const { signal, onProgress } = this.#options
    const blob = this.#archived.get(digest) as ArchivedBlob
    if (blob.entry.sizeBytes !== size)
      throw this.#refusal(digest, `has ${blob.entry.sizeBytes} bytes, but its descriptor says ${size}`)
    this.#holeBytes += Math.max(0, size - blob.entry.storedBytes)
    if (this.#holeBytes > maxHoleBytes)
      throw new VarveError(
        'FORMAT_UNSUPPORTED',
        `${this.#archive.path} has more than ${maxHoleBytes / 2 ** 30} GiB of holes, each of which must be hashed`,
        { remedy: 'export fewer snapshots into one archive', details: { path: this.#archive.path } },
      )
    const path = join(this.#staging.directory, hexOf(digest))
    await this.#archive.unpack(blob, path, signal)
    this.#readBytes += blob.entry.storedBytes
    onProgress?.(`${wholeMib(this.#readBytes)} of ${wholeMib(this.#archive.sizeBytes)} MiB read`)
    const found = (await this.#repository.stageBlob(path, mediaType, undefined, this.#options)).descriptor
    if (found.digest === digest && found.size === size) return path
    throw this.#refusal(digest, `has ${found.size} bytes with SHA-256 ${hexOf(found.digest)}`)
  }

  #refusal(digest: Digest, detail: string): VarveError {
    return new VarveError('CHECKSUM_MISMATCH', `blob ${hexOf(digest)} of the archive ${detail}`, {
      remedy: 'export it again',
      details: { path: `blobs/sha256/${hexOf(digest)}`, offset: 0 },
    })
  }

  /** Where a blob is: just unpacked, or in the store already. */
  #placeOf(digest: Digest): string {
    return this.#staged.get(digest)?.path ?? this.#repository.blobs.path(digest)
  }

  #readManifest({ id, manifest: { digest } }: SnapshotEntry): SnapshotManifest {
    const path = this.#placeOf(digest)
    const manifest = manifestFromJson(readSmallFile(path, maxSmallBytes), path)
    if (manifest.id === id) return manifest
    throw new VarveError('IMAGE_MISMATCH', `${path} is of snapshot ${manifest.id}, not ${id}`, {
      details: { path, offset: 0 },
    })
  }

  #checkConfig({ id }: SnapshotEntry, manifest: SnapshotManifest): SnapshotConfig {
    const path = this.#placeOf(manifest.config.digest)
    const config = snapshotConfigFromJson(readSmallFile(path, maxSmallBytes), path)
    if (config.id === id && config.disks.length === manifest.disks.length) return config
    throw new VarveError('IMAGE_MISMATCH', `config ${path} is not of the manifest of snapshot ${id}`, {
      details: { path, offset: 0 },
    })
  }

  /** Read once for all snapshots of the archive, as far as there is room for it. */
  async #layer(digest: Digest): Promise<Layer> {
    const kept = this.#layers.get(digest)
    if (kept !== undefined) return kept
    const layer = await readLayer(this.#placeOf(digest), this.#options)
    this.#keptRuns += layer.index.starts.length
    if (this.#keptRuns <= maxKeptRuns) this.#layers.set(digest, layer)
    return layer
  }

  /** Checks that the layers form one chain, are what their descriptors say, and make the map. */
  async #checkLayers(manifest: SnapshotManifest): Promise<void> {
    const layers: Layer[] = []
    for (const descriptor of manifest.layers) {
      throwIfAborted(this.#options.signal, this.#archive.path)
      const layer = await this.#layer(descriptor.digest)
      assertLayerNotes(descriptor, layer)
      layers.push(layer)
    }
    assertChain(layers, manifest.id)
    const path = this.#placeOf(manifest.extentMap.digest)
    const stored = manifest.layers.map((layer) => storedPagesOf(layer, path))
    const map = extentMapFromBytes(readSmallFile(path, maxExtentMapBytes), stored, path)
    if (!isMapOf(map, layers))
      throw new VarveError('IMAGE_MISMATCH', `${path} is not the image that its layers make`, {
        details: { path, offset: 0 },
      })
  }
}
