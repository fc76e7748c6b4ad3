import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Descriptor } from '../content/descriptors.js'
import { annotations, mediaTypes } from '../content/descriptors.js'
import { hashFile } from '../content/hash-file.js'
import { VarveError } from '../errors.js'
import type { ExtentMap } from '../layer/extent-map.js'
import { extentMapFromBytes, maxExtentMapBytes } from '../layer/extent-map-bytes.js'
import { wholeMib } from '../memory/units.js'
import { notFound } from '../not-found.js'
import { type FileLock, lock } from '../sys/file-lock.js'
import { openForWriting, syncDirectory, syncFile } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import { Blobs } from './blobs.js'
import type { StagedBlob } from './layer-chain.js'
import {
  entriesOf,
  manifestFromJson,
  manifestToJson,
  type SnapshotManifest,
  storedPagesOf,
} from './manifest.js'
import {
  findEntry,
  indexFromJson,
  indexToJson,
  maxIndexBytes,
  type ReferenceIndex,
  withEntry,
} from './reference-index.js'
import { snapshotConfigFromJson } from './snapshot-config.js'
import { withSnapshotLine } from './snapshot-line.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotConfig, SnapshotDescription, SnapshotEntry, Staging } from './snapshot-types.js'
import { makeStaging } from './staging.js'
import type { StorePaths } from './store-paths.js'
import { replaceFile, writeNewFile } from './write-whole.js'

/**
 * What every verb of a store stands on: its files, its blobs, its index, its lock, and how something new
 * becomes part of it. A verb is a function over a repository, in a file of its own.
 */
export class Repository {
  readonly paths: StorePaths
  readonly blobs: Blobs

  constructor(paths: StorePaths) {
    this.paths = paths
    this.blobs = new Blobs(paths)
  }

  /** For messages. */
  get location(): string {
    return this.paths.directory
  }

  async index(): Promise<ReferenceIndex> {
    return indexFromJson(readSmallFile(this.paths.index, maxIndexBytes), this.paths.index)
  }

  async list(): Promise<readonly SnapshotEntry[]> {
    return (await this.index()).snapshots
  }

  async resolve(ref: string): Promise<SnapshotEntry> {
    return findEntry(await this.index(), ref, this.location)
  }

  async describe(ref: string): Promise<SnapshotDescription> {
    return this.describeEntry(await this.resolve(ref))
  }

  async describeEntry(entry: SnapshotEntry): Promise<SnapshotDescription> {
    const { manifest, config } = await this.readManifest(entry)
    const { layers, extentMap, state, disks, others } = manifest
    const workingSets = manifest.workingSets.map((descriptor) => ({
      name: descriptor.annotations?.[annotations.name] ?? '',
      descriptor,
    }))
    return withSnapshotLine({ entry, config, layers, extentMap, state, disks, workingSets, others })
  }

  /** Manifest and config, each checked against its digest, and that they are of this snapshot. */
  async readManifest(
    entry: SnapshotEntry,
  ): Promise<{ readonly manifest: SnapshotManifest; readonly config: SnapshotConfig }> {
    const path = this.blobs.path(entry.manifest.digest)
    const manifest = manifestFromJson(this.blobs.readSmall(entry.manifest.digest), path)
    const configPath = this.blobs.path(manifest.config.digest)
    const config = snapshotConfigFromJson(this.blobs.readSmall(manifest.config.digest), configPath)
    if (manifest.id !== entry.id || config.id !== entry.id)
      throw new VarveError('IMAGE_MISMATCH', `${path} is of snapshot ${manifest.id}, not ${entry.id}`, {
        details: { path, offset: 0 },
      })
    if (config.disks.length !== manifest.disks.length)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `${path} has ${manifest.disks.length} disks, its config ${config.disks.length}`,
        { details: { path, offset: 0 } },
      )
    return { manifest, config }
  }

  async readMap({ layers, extentMap }: Pick<SnapshotManifest, 'layers' | 'extentMap'>): Promise<ExtentMap> {
    const path = this.blobs.path(extentMap.digest)
    const stored = layers.map((layer) => storedPagesOf(layer, path))
    return extentMapFromBytes(this.blobs.readSmall(extentMap.digest, maxExtentMapBytes), stored, path)
  }

  /** Runs short work with the store's lock held; readers go on meanwhile. */
  async locked<T>(work: () => Promise<T>, { signal, onProgress }: WorkOptions = {}): Promise<T> {
    const held: FileLock = await lock(this.paths.lock, {
      signal,
      onWait: () => onProgress?.('waiting for another process to finish with the store'),
    })
    try {
      return await work()
    } finally {
      await held[Symbol.asyncDispose]()
    }
  }

  async stage(): Promise<Staging> {
    const staging = await this.locked(() => makeStaging(this.paths.staging))
    return { ...staging, clonesDirectory: this.paths.clones }
  }

  /** Changes the references in one step: reads them under the lock, and writes them if they changed. */
  async updateIndex(
    change: (index: ReferenceIndex) => Promise<ReferenceIndex> | ReferenceIndex,
  ): Promise<void> {
    const before = await this.index()
    const after = await change(before)
    const bytes = indexToJson(after)
    // What could not be read again would lose the whole store.
    indexFromJson(bytes, this.paths.index)
    if (!bytes.equals(indexToJson(before))) await replaceFile(this.paths.index, bytes)
  }

  /** Hashes and syncs a file that lies in a staging directory. */
  async stageBlob(
    path: string,
    mediaType: string,
    notes: Readonly<Record<string, string>> | undefined,
    { signal, onProgress }: WorkOptions = {},
  ): Promise<StagedBlob> {
    {
      await using file = await openForWriting(path)
      await syncFile(file)
    }
    const { digest, size } = await hashFile(path, {
      signal,
      onProgress: (done, total) => onProgress?.(`${wholeMib(done)} of ${wholeMib(total)} MiB hashed`),
    })
    return { descriptor: { mediaType, digest, size, ...(notes ? { annotations: notes } : {}) }, path }
  }

  async stageBytes(staging: Staging, name: string, bytes: Buffer, mediaType: string): Promise<StagedBlob> {
    const path = join(staging.directory, `${name}-${randomBytes(4).toString('hex')}`)
    await writeNewFile(path, bytes)
    return this.stageBlob(path, mediaType, undefined)
  }

  /**
   * The last step of everything that adds to the store: under the lock, blobs get their names, then
   * the index names the manifest. `decide` sees the index as it is then; undefined means "not like
   * this", and nothing has changed.
   */
  async publish(
    staging: Staging,
    manifest: SnapshotManifest,
    staged: readonly StagedBlob[],
    options: WorkOptions,
    decide: (index: ReferenceIndex, manifest: Descriptor) => Promise<SnapshotEntry | undefined>,
  ): Promise<SnapshotEntry | undefined> {
    const blob = await this.stageBytes(staging, 'manifest', manifestToJson(manifest), mediaTypes.manifest)
    return this.locked(async () => {
      const index = await this.index()
      const entry = await decide(index, blob.descriptor)
      if (entry === undefined) return undefined
      const fresh = new Set(
        staged.filter(({ path }) => path !== null).map(({ descriptor }) => descriptor.digest),
      )
      for (const descriptor of entriesOf(manifest))
        if (!fresh.has(descriptor.digest)) await this.assertThere(descriptor)
      for (const { path, descriptor } of [...staged, blob])
        if (path !== null) await this.blobs.publish(path, descriptor.digest)
      await syncDirectory(this.paths.blobs)
      await this.updateIndex((now) => withEntry(now, entry))
      return entry
    }, options)
  }

  /**
   * Call this under the lock for blobs that a new manifest takes over: without the lock, a gc may come in
   * between.
   */
  async assertThere({ digest }: Descriptor): Promise<void> {
    if ((await this.blobs.stat(digest)) !== undefined) return
    throw notFound('blob', `blob ${this.blobs.path(digest)} is missing`, {
      remedy:
        'import the snapshot again from an archive that has it; varve fsck says which snapshots need it',
    })
  }
}
