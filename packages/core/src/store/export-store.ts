import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { annotations, hexOf, mediaTypes } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { readAt } from '../layer/memory-file.js'
import { publishFile } from '../layer/publish-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { wholeMib } from '../memory/units.js'
import { dataExtents } from '../sys/extents.js'
import { type WritableFile, writeAt } from '../sys/mutations.js'
import { fitWorkingSet, type WorkingSetPlaces } from './fit-working-set.js'
import { writeHotPages } from './hot-pages.js'
import { layerNotes, type StagedBlob } from './layer-chain.js'
import type { SnapshotManifest } from './manifest.js'
import { openSnapshot } from './open-snapshot.js'
import { readKeptWorkingSet, workingSetReference } from './read-kept-working-set.js'
import { indexToJson } from './reference-index.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { OpenSnapshot, Staging } from './snapshot-types.js'
import {
  directoryHeader,
  type Extent,
  endOfArchive,
  fileHeader,
  maxSparseExtents,
  paddingOf,
  sparseMap,
} from './tar-format.js'

const chunkBytes = 2 * 1024 * 1024

/**
 * Writes snapshots into one archive, small things first, so that a reader can begin before the layers have
 * come. The snapshots are leased while it lasts. A new file, whole or not there.
 */
export async function exportSnapshots(
  repository: Repository,
  refs: readonly string[],
  outPath: string,
  { signal, onProgress, workingSet }: WorkOptions & { readonly workingSet?: string | undefined } = {},
): Promise<{ readonly path: string; readonly bytes: number }> {
  if (refs.length === 0) throw new VarveError('INVALID_ARGUMENT', 'name at least one snapshot to export')
  const path = resolve(outPath)
  const opened: OpenSnapshot[] = []
  try {
    for (const ref of refs) opened.push(await openSnapshot(repository, ref, { signal, onProgress }))
    await using staging = await repository.stage()
    const hot: StagedBlob[] = []
    if (workingSet !== undefined)
      for (const snapshot of opened)
        hot.push(await hotPagesOf(repository, snapshot, workingSet, staging, { signal, onProgress }))
    const blobs = await blobsInOrder(repository, opened, hot)
    const index = {
      snapshots: uniqueEntries(opened),
      // For a restore that begins before the rest has come; an import passes over it.
      foreign: hot.map(({ descriptor }) => descriptor),
    }
    const staged = new Map(hot.map(({ descriptor, path: source }) => [descriptor.digest, source]))
    return await publishFile(path, async (file) => {
      const out = new TarWriter(file, signal)
      out.add(Buffer.from(directoryHeader('blobs/')))
      out.add(directoryHeader('blobs/sha256/'))
      out.addFile('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'))
      out.addFile('index.json', indexToJson(index))
      const total = blobs.reduce((sum, { size }) => sum + size, 0)
      for (const { digest } of blobs) {
        onProgress?.(`${wholeMib(out.bytes)} of ${wholeMib(total)} MiB written`)
        await out.addBlob(
          `blobs/sha256/${hexOf(digest)}`,
          staged.get(digest) ?? repository.blobs.path(digest),
        )
      }
      out.add(endOfArchive)
      return { path, bytes: out.bytes }
    })
  } finally {
    for (const snapshot of opened) await snapshot[Symbol.asyncDispose]()
  }
}

function uniqueEntries(opened: readonly OpenSnapshot[]) {
  return [...new Map(opened.map(({ entry }) => [entry.id, entry])).values()]
}

/**
 * NOT_FOUND if a snapshot has no working set of that name, IMAGE_MISMATCH if the set is of an image that it
 * does not descend from.
 */
async function hotPagesOf(
  repository: Repository,
  snapshot: OpenSnapshot,
  setName: string,
  staging: Staging,
  options: WorkOptions,
): Promise<StagedBlob> {
  const { entry } = snapshot
  const places: WorkingSetPlaces = {
    list: () => repository.list(),
    open: (ref, open = {}) => openSnapshot(repository, ref, open),
    readWorkingSet: (refAndName: string) =>
      readKeptWorkingSet(repository, workingSetReference(refAndName), options),
  }
  const { workingSet } = await fitWorkingSet(places, snapshot, setName, options)
  const layer = await writeHotPages(snapshot, workingSet, staging, options)
  const name = setName.includes(':') ? workingSetReference(setName).name : setName
  const notes = { ...layerNotes(layer), [annotations.snapshot]: entry.id, [annotations.name]: name }
  return repository.stageBlob(layer.path, mediaTypes.hotPages, notes, options)
}

/** Each blob once: manifests, configs, maps, working sets and their pages, states, layers, the rest. */
async function blobsInOrder(
  repository: Repository,
  opened: readonly OpenSnapshot[],
  hot: readonly StagedBlob[],
): Promise<Descriptor[]> {
  const manifests: SnapshotManifest[] = []
  for (const { entry } of opened) manifests.push((await repository.readManifest(entry)).manifest)
  const all = [
    ...opened.map(({ entry }) => entry.manifest),
    ...manifests.map(({ config }) => config),
    ...manifests.map(({ extentMap }) => extentMap),
    ...manifests.flatMap(({ workingSets }) => workingSets),
    ...hot.map(({ descriptor }) => descriptor),
    ...manifests.map(({ state }) => state),
    ...manifests.flatMap(({ layers }) => layers),
    ...manifests.flatMap(({ disks, others }) => [...disks, ...others]),
  ]
  return [...new Map<Digest, Descriptor>([...all].reverse().map((it) => [it.digest, it])).values()].reverse()
}

class TarWriter {
  bytes = 0
  readonly #file: WritableFile
  readonly #signal: AbortSignal | undefined

  constructor(file: WritableFile, signal: AbortSignal | undefined) {
    this.#file = file
    this.#signal = signal
  }

  add(block: Buffer): void {
    writeAt(this.#file, block, this.bytes)
    this.bytes += block.length
  }

  addFile(name: string, content: Buffer): void {
    this.add(Buffer.concat([fileHeader(name, content.length, null), content, paddingOf(content.length)]))
  }

  /** With its holes as holes, if it has any. */
  async addBlob(name: string, path: string): Promise<void> {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    const { size } = await handle.stat()
    const extents = [...dataExtents(handle.fd, size)]
    const dataBytes = extents.reduce((sum, { startBytes, endBytes }) => sum + endBytes - startBytes, 0)
    if (dataBytes === size || extents.length >= maxSparseExtents) {
      this.add(fileHeader(name, size, null))
      await this.#copy(handle, path, [{ startBytes: 0, endBytes: size }])
      return this.add(paddingOf(size))
    }
    const map = sparseMap(extents, size)
    this.add(Buffer.concat([fileHeader(name, size, { storedBytes: map.length + dataBytes }), map]))
    await this.#copy(handle, path, extents)
    this.add(paddingOf(dataBytes))
  }

  async #copy(handle: FileHandle, path: string, extents: readonly Extent[]): Promise<void> {
    const buffer = Buffer.allocUnsafe(chunkBytes)
    for (const { startBytes, endBytes } of extents)
      for (let at = startBytes; at < endBytes; ) {
        throwIfAborted(this.#signal, path)
        const part = buffer.subarray(0, Math.min(chunkBytes, endBytes - at))
        await readAt(handle, path, part, at)
        this.add(part)
        at += part.length
        await setImmediate()
      }
  }
}
