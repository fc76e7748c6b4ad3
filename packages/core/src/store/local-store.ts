import { randomBytes } from 'node:crypto'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { composeExtentMap, type ExtentMap, maxLayers, stackLayer, zeroMap } from '../layer/extent-map.js'
import { extentMapFromBytes, extentMapToBytes, maxExtentMapBytes } from '../layer/extent-map-bytes.js'
import { readLayer } from '../layer/layer-file.js'
import type { Layer } from '../layer/layer-types.js'
import { type FileLock, lock } from '../sys/file-lock.js'
import { openForWriting, syncDirectory, syncFile } from '../sys/mutations.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { assertWorkingSetName, assertWorkingSetOf, type WorkingSet } from '../working-set/working-set.js'
import { writeWorkingSet } from '../working-set/working-set-file.js'
import { Blobs } from './blobs.js'
import { readSmallFile } from './checked-json.js'
import { collectGarbage } from './collect-garbage.js'
import { createLayout, openLayout } from './create-store.js'
import { annotations, mediaTypes } from './descriptors.js'
import { exportSnapshots } from './export-store.js'
import { checkStore } from './fsck.js'
import { hashFile } from './hash-file.js'
import { importSnapshots } from './import-store.js'
import { assertChain, assertDraft, layerNotes, type StagedBlob } from './layer-chain.js'
import { endLease, leaseToOther, leaseToSelf } from './leases.js'
import {
  entriesOf,
  manifestFromJson,
  manifestToJson,
  type SnapshotManifest,
  storedPagesOf,
} from './manifest.js'
import {
  assertTag,
  findEntry,
  indexFromJson,
  indexToJson,
  maxIndexBytes,
  type ReferenceIndex,
  withEntry,
} from './reference-index.js'
import { snapshotConfigFromJson, snapshotConfigToJson } from './snapshot-config.js'
import { makeStaging } from './staging.js'
import { type StorePaths, storePaths } from './store-paths.js'
import type {
  Descriptor,
  FsckReport,
  GcReport,
  LayerUsage,
  OpenSnapshot,
  SnapshotConfig,
  SnapshotDescription,
  SnapshotDraft,
  SnapshotEntry,
  SnapshotStore,
  Staging,
  WorkOptions,
} from './store-types.js'
import { measureUsage } from './usage.js'
import { replaceFile, writeNewFile } from './write-whole.js'

/** $VARVE_STORE, else $XDG_DATA_HOME/varve/store, else ~/.local/share/varve/store. */
export function defaultStoreDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_STORE) return resolve(env.VARVE_STORE)
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'varve', 'store')
}

/**
 * Opens the store in a directory; `create` makes one where there is nothing yet. NOT_FOUND, FORMAT_INVALID (something else is
 * there), FORMAT_UNSUPPORTED, PATH_INVALID (others may write there).
 */
export async function openLocalStore(
  directory: string,
  { create = false }: { readonly create?: boolean } = {},
): Promise<LocalStore> {
  const paths = storePaths(resolve(directory))
  if (create) await createLayout(paths)
  await openLayout(paths)
  return new LocalStore(paths)
}

/** A snapshot store in a directory: an OCI image layout, docs/formats/store-v1.md. */
export class LocalStore implements SnapshotStore {
  readonly paths: StorePaths
  readonly blobs: Blobs

  constructor(paths: StorePaths) {
    this.paths = paths
    this.blobs = new Blobs(paths)
  }

  get location(): string {
    return this.paths.directory
  }

  async index(): Promise<ReferenceIndex> {
    return indexFromJson(await readSmallFile(this.paths.index, maxIndexBytes), this.paths.index)
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
    return { entry, config, layers, extentMap, state, disks, workingSets, others }
  }

  /** Manifest and config, each checked against its digest, and that they are of this snapshot. */
  async readManifest(
    entry: SnapshotEntry,
  ): Promise<{ readonly manifest: SnapshotManifest; readonly config: SnapshotConfig }> {
    const path = this.blobs.path(entry.manifest.digest)
    const manifest = manifestFromJson(await this.blobs.readSmall(entry.manifest.digest), path)
    const configPath = this.blobs.path(manifest.config.digest)
    const config = snapshotConfigFromJson(await this.blobs.readSmall(manifest.config.digest), configPath)
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
    return extentMapFromBytes(await this.blobs.readSmall(extentMap.digest, maxExtentMapBytes), stored, path)
  }

  async open(ref: string, options: WorkOptions = {}): Promise<OpenSnapshot> {
    for (let attempt = 0; ; attempt++) {
      const entry = await this.resolve(ref)
      const lease = await leaseToSelf(this.paths.leases, entry.id, entry.manifest.digest)
      try {
        return await this.#openLeased(entry, () => endLease(lease), options)
      } catch (error) {
        await endLease(lease)
        // gc may have been at it while the lease was written: it has put everything back, or the snapshot is gone for good.
        if (!isVarveError(error, 'NOT_FOUND') || attempt > 0) throw error
        await this.locked(async () => {}, options)
      }
    }
  }

  async #openLeased(
    entry: SnapshotEntry,
    close: () => Promise<void>,
    options: WorkOptions,
  ): Promise<OpenSnapshot> {
    const description = await this.describeEntry(entry)
    const { config, layers, extentMap, state, disks, workingSets } = description
    for (const descriptor of [
      ...layers,
      extentMap,
      state,
      ...disks,
      ...workingSets.map((it) => it.descriptor),
    ])
      await this.blobs.assertRight(descriptor, options)
    const map = await this.readMap(description)
    if (map.pages !== config.memoryPages)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `extent map ${extentMap.digest} has ${map.pages} pages, the config of ${entry.id} ${config.memoryPages}`,
      )
    const path = ({ digest }: Descriptor) => this.blobs.path(digest)
    return {
      ...description,
      files: layers.map((layer) => ({ path: path(layer), storedPages: storedPagesOf(layer, path(layer)) })),
      map,
      statePath: path(state),
      diskFiles: config.disks.map((disk, i) => ({ ...disk, path: path(disks[i] as Descriptor) })),
      workingSetFiles: workingSets.map(({ name, descriptor }) => ({ name, path: path(descriptor) })),
      flatPath: join(this.paths.flat, entry.id),
      clonesDirectory: this.paths.clones,
      stage: () => this.stage(),
      leaseTo: async (other: ProcessIdentity) => {
        await leaseToOther(this.paths.leases, other, entry.id, entry.manifest.digest)
      },
      [Symbol.asyncDispose]: close,
    }
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

  stage(): Promise<Staging> {
    return this.locked(() => makeStaging(this.paths.staging))
  }

  /** Changes the references in one step: reads them under the lock, and writes them where they changed. */
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

  async commit(
    draft: SnapshotDraft,
    options: WorkOptions & { readonly tags?: readonly string[] | undefined } = {},
  ): Promise<SnapshotEntry> {
    const tags = (options.tags ?? []).map(assertTag)
    const { config } = draft
    await using staging = await this.stage()
    const layer = await readLayer(draft.layerPath, options)
    assertDraft(config, layer)
    const own = await this.stageBlob(draft.layerPath, mediaTypes.layer, layerNotes(layer), options)
    const state = await this.stageBlob(draft.statePath, mediaTypes.state, undefined, options)
    const disks: StagedBlob[] = []
    for (const disk of draft.disks) {
      const notes = { [annotations.drive]: disk.drive }
      if ('descriptor' in disk)
        disks.push({ descriptor: { ...disk.descriptor, annotations: notes }, path: null })
      else disks.push(await this.stageBlob(disk.path, mediaTypes.disk, notes, options))
    }
    const extras: StagedBlob[] = []
    for (const { path, mediaType, annotations: notes } of draft.extras ?? [])
      extras.push(await this.stageBlob(path, mediaType, notes, options))
    const configBlob = await this.stageBytes(
      staging,
      'config',
      snapshotConfigToJson(config),
      mediaTypes.config,
    )

    for (;;) {
      const parent = config.parent === null ? undefined : await this.#parentManifest(config.parent)
      const below = parent === undefined ? [] : parent.manifest.layers
      if (below.length >= maxLayers)
        throw new VarveError('INVALID_ARGUMENT', `${config.parent} has ${below.length} layers already`, {
          remedy: 'squash it: varve squash',
        })
      const lower = parent === undefined ? zeroMap(layer.index.pages) : await this.readMap(parent.manifest)
      const map = stackLayer(lower, layer.index, below.length)
      const extentMap = await this.stageBytes(
        staging,
        'map',
        extentMapToBytes(map, below.length + 1),
        mediaTypes.extentMap,
      )
      const manifest: SnapshotManifest = {
        id: config.id,
        createdAt: config.createdAt,
        config: configBlob.descriptor,
        layers: [...below, own.descriptor],
        extentMap: extentMap.descriptor,
        state: state.descriptor,
        disks: disks.map(({ descriptor }) => descriptor),
        workingSets: extras.filter(isWorkingSet).map(({ descriptor }) => descriptor),
        others: extras.filter((it) => !isWorkingSet(it)).map(({ descriptor }) => descriptor),
      }
      const staged = [own, extentMap, state, ...disks, ...extras, configBlob]
      const entry = await this.publish(
        staging,
        manifest,
        staged,
        options,
        async (index, manifestDescriptor) => {
          const now = parent && index.snapshots.find(({ id }) => id === parent.entry.id)
          // Packed, squashed or removed since it was looked at: once more with what it is now.
          if (parent !== undefined && now?.manifest.digest !== parent.entry.manifest.digest) return undefined
          return {
            id: config.id,
            parent: config.parent,
            tags,
            createdAt: config.createdAt,
            manifest: manifestDescriptor,
          }
        },
      )
      if (entry !== undefined) return entry
    }
  }

  async #parentManifest(id: string): Promise<{ entry: SnapshotEntry; manifest: SnapshotManifest }> {
    const entry = (await this.list()).find((it) => it.id === id)
    if (entry === undefined)
      throw new VarveError('IMAGE_MISMATCH', `the parent ${id} is not in ${this.location}`, {
        remedy: 'import it, or take a base',
      })
    return { entry, manifest: (await this.readManifest(entry)).manifest }
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
      onProgress: (done, total) => onProgress?.(`${done >> 20} of ${total >> 20} MiB hashed`),
    })
    return { descriptor: { mediaType, digest, size, ...(notes ? { annotations: notes } : {}) }, path }
  }

  async stageBytes(staging: Staging, name: string, bytes: Buffer, mediaType: string): Promise<StagedBlob> {
    const path = join(staging.directory, `${name}-${randomBytes(4).toString('hex')}`)
    await writeNewFile(path, bytes)
    return this.stageBlob(path, mediaType, undefined)
  }

  /**
   * The last step of everything that adds to the store: under the lock, blobs get their names, then the index names the
   * manifest. `decide` sees the index as it is then; undefined means "not like this", and nothing has changed.
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
        if (!fresh.has(descriptor.digest)) await this.#assertThere(descriptor)
      for (const { path, descriptor } of [...staged, blob])
        if (path !== null) await this.blobs.publish(path, descriptor.digest)
      await syncDirectory(this.paths.blobs)
      await this.updateIndex((now) => withEntry(now, entry))
      return entry
    }, options)
  }

  async #assertThere({ digest }: Descriptor): Promise<void> {
    if ((await this.blobs.stat(digest)) !== undefined) return
    throw new VarveError('NOT_FOUND', `blob ${this.blobs.path(digest)} is missing`, {
      remedy: 'varve fsck says which snapshots need it',
    })
  }

  async relayer(
    ref: string,
    layers: readonly (Descriptor | { readonly path: string })[],
    options: WorkOptions = {},
  ): Promise<SnapshotEntry> {
    const entry = await this.resolve(ref)
    const { manifest } = await this.readManifest(entry)
    await using staging = await this.stage()
    const files: Layer[] = []
    const staged: StagedBlob[] = []
    for (const layer of layers) {
      const path = 'path' in layer ? layer.path : this.blobs.path(layer.digest)
      const file = await readLayer(path, options)
      files.push(file)
      if ('path' in layer)
        staged.push(await this.stageBlob(path, mediaTypes.layer, layerNotes(file), options))
      else staged.push({ descriptor: { ...layer, annotations: layerNotes(file) }, path: null })
    }
    assertChain(files, entry.id)
    const map = composeExtentMap(files.map(({ index }) => index))
    const extentMap = await this.stageBytes(
      staging,
      'map',
      extentMapToBytes(map, files.length),
      mediaTypes.extentMap,
    )
    const changed: SnapshotManifest = {
      ...manifest,
      layers: staged.map(({ descriptor }) => descriptor),
      extentMap: extentMap.descriptor,
    }
    const result = await this.publish(
      staging,
      changed,
      [...staged, extentMap],
      options,
      async (index, descriptor) => {
        const now = index.snapshots.find(({ id }) => id === entry.id)
        if (now?.manifest.digest !== entry.manifest.digest) return undefined
        return { ...now, manifest: descriptor }
      },
    )
    if (result !== undefined) return result
    throw new VarveError('IMAGE_MISMATCH', `snapshot ${entry.id} was changed or removed meanwhile`, {
      remedy: 'try again',
    })
  }

  async saveWorkingSet(
    ref: string,
    name: string,
    workingSet: WorkingSet,
    options: WorkOptions = {},
  ): Promise<SnapshotEntry> {
    assertWorkingSetName(name)
    const { id, config } = await this.describe(ref).then(({ entry, config: it }) => ({
      id: entry.id,
      config: it,
    }))
    assertWorkingSetOf(workingSet, id, config.memoryPages)
    await using staging = await this.stage()
    const path = join(staging.directory, 'working-set')
    await writeWorkingSet(path, workingSet, options)
    const blob = await this.stageBlob(path, mediaTypes.workingSet, { [annotations.name]: name }, options)
    return await this.#changeWorkingSets(id, staging, [blob], options, (sets) => [
      ...sets.filter(({ annotations: notes }) => notes?.[annotations.name] !== name),
      blob.descriptor,
    ])
  }

  async removeWorkingSet(ref: string, name: string, options: WorkOptions = {}): Promise<SnapshotEntry> {
    const { entry, workingSets } = await this.describe(ref)
    if (!workingSets.some((it) => it.name === name))
      throw new VarveError('NOT_FOUND', `snapshot ${entry.id} has no working set named ${name}`)
    await using staging = await this.stage()
    return await this.#changeWorkingSets(entry.id, staging, [], options, (sets) =>
      sets.filter(({ annotations: notes }) => notes?.[annotations.name] !== name),
    )
  }

  /** A manifest with other working sets in place of the present one, whatever that is by then. */
  async #changeWorkingSets(
    id: string,
    staging: Staging,
    staged: readonly StagedBlob[],
    options: WorkOptions,
    change: (sets: readonly Descriptor[]) => readonly Descriptor[],
  ): Promise<SnapshotEntry> {
    for (;;) {
      const entry = await this.resolve(id)
      const { manifest } = await this.readManifest(entry)
      const changed = { ...manifest, workingSets: change(manifest.workingSets) }
      const result = await this.publish(staging, changed, staged, options, async (index, descriptor) => {
        const now = index.snapshots.find((it) => it.id === id)
        if (now === undefined) throw new VarveError('NOT_FOUND', `snapshot ${id} was removed meanwhile`)
        return now.manifest.digest === entry.manifest.digest ? { ...now, manifest: descriptor } : undefined
      })
      if (result !== undefined) return result
    }
  }

  async tag(ref: string, tag: string): Promise<SnapshotEntry> {
    assertTag(tag)
    return this.#changeEntry(
      (index) => findEntry(index, ref, this.location),
      ({ tags }) => [...tags.filter((it) => it !== tag), tag],
    )
  }

  untag(tag: string): Promise<SnapshotEntry> {
    return this.#changeEntry(
      (index) => {
        const entry = index.snapshots.find(({ tags }) => tags.includes(tag))
        if (entry === undefined) throw new VarveError('NOT_FOUND', `no tag ${tag} in ${this.location}`)
        return entry
      },
      ({ tags }) => tags.filter((it) => it !== tag),
    )
  }

  remove(ref: string): Promise<SnapshotEntry> {
    return this.#changeEntry(
      (index) => findEntry(index, ref, this.location),
      () => [],
    )
  }

  #changeEntry(
    find: (index: ReferenceIndex) => SnapshotEntry,
    tagsOf: (entry: SnapshotEntry) => readonly string[],
  ): Promise<SnapshotEntry> {
    return this.locked(async () => {
      let changed: SnapshotEntry | undefined
      await this.updateIndex((index) => {
        const entry = find(index)
        changed = { ...entry, tags: tagsOf(entry) }
        return withEntry(index, changed)
      })
      return changed as SnapshotEntry
    })
  }

  gc(options: WorkOptions & { readonly dryRun?: boolean } = {}): Promise<GcReport> {
    return this.locked(() => collectGarbage(this, options), options)
  }

  fsck(options: WorkOptions = {}): Promise<FsckReport> {
    return checkStore(this, options)
  }

  usage(
    options: WorkOptions & { readonly ref?: string; readonly deep?: boolean } = {},
  ): Promise<readonly LayerUsage[]> {
    return measureUsage(this, options)
  }

  exportTo(
    refs: readonly string[],
    path: string,
    options: WorkOptions & { readonly workingSet?: string | undefined } = {},
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    return exportSnapshots(this, refs, path, options)
  }

  importFrom(path: string, options: WorkOptions = {}): Promise<readonly SnapshotEntry[]> {
    return importSnapshots(this, path, options)
  }
}

const isWorkingSet = ({ descriptor }: StagedBlob) => descriptor.mediaType === mediaTypes.workingSet
