import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { extentMapFromBytes, maxExtentMapBytes } from '../layer/extent-map-bytes.js'
import { readLayer } from '../layer/layer-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { pathError } from '../not-found.js'
import { createFile, syncDirectory, truncate, writeAt } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import { digestOf, hexOf, maxSmallBytes, mediaTypes } from './descriptors.js'
import { assertChain, isMapOf, type StagedBlob } from './layer-chain.js'
import type { LocalStore } from './local-store.js'
import { entriesOf, manifestFromJson, type SnapshotManifest, storedPagesOf } from './manifest.js'
import { indexFromJson, maxIndexBytes, type ReferenceIndex, withEntry } from './reference-index.js'
import { snapshotConfigFromJson } from './snapshot-config.js'
import type { Descriptor, Digest, SnapshotEntry, Staging, WorkOptions } from './store-types.js'
import { blockBytes, paddingOf, readHeader, readSparseMap, type TarEntry } from './tar-format.js'

const chunkBytes = 2 * 1024 * 1024
/** Snapshots in one archive times what each may name is far less. */
const maxEntries = 1_000_000

/**
 * Takes the snapshots of an archive into the store: what `exportSnapshots` writes, or any tar of an OCI layout with Varve
 * snapshots. All of it is checked in staging; then blobs get their names and the index its entries, in one step. A tag that
 * another snapshot has stays where it is, and so does a snapshot that the store has already.
 */
export async function importSnapshots(
  store: LocalStore,
  archivePath: string,
  options: WorkOptions = {},
): Promise<readonly SnapshotEntry[]> {
  const path = resolve(archivePath)
  await using staging = await store.stage()
  const { index, staged } = await unpack(path, staging, options)
  const wanted = index.snapshots
  if (wanted.length === 0)
    throw new VarveError('FORMAT_INVALID', `archive ${path} has no snapshot`, {
      details: { path, offset: 0 },
    })
  const hashed = new Map<Digest, StagedBlob>()
  const manifests: SnapshotManifest[] = []
  for (const entry of wanted) {
    const manifest = await checkSnapshot(store, staged, entry, options)
    manifests.push(manifest)
    for (const descriptor of [entry.manifest, manifest.config, ...entriesOf(manifest)])
      await hashOnce(store, staged, descriptor, hashed, options)
  }
  // Also what no snapshot names: an archive that is damaged anywhere is not to be believed.
  for (const [digest, source] of staged)
    if (!hashed.has(digest)) {
      const { size } = await stat(source)
      await hashOnce(store, staged, { mediaType: mediaTypes.hotPages, digest, size }, new Map(), options)
    }
  for (const manifest of manifests) await checkLayers(store, staged, manifest, options)
  // Awaited here: staging goes when this function returns.
  return await store.locked(async () => {
    // First: a gc may have taken away what the archive left out and the store had.
    for (const { descriptor, path: source } of hashed.values())
      if (source === null) await store.assertThere(descriptor)
    for (const [digest, { path: source }] of hashed)
      if (source !== null) await store.blobs.publish(source, digest)
    await syncDirectory(store.paths.blobs)
    const result: SnapshotEntry[] = []
    await store.updateIndex((before) => {
      let now = before
      for (const entry of wanted) {
        const there = now.snapshots.find(({ id }) => id === entry.id)
        const taken = new Set(now.snapshots.filter((it) => it !== there).flatMap(({ tags }) => tags))
        const tags = entry.tags.filter((tag) => !taken.has(tag))
        const merged: SnapshotEntry = {
          ...(there ?? entry),
          tags: [...new Set([...(there?.tags ?? []), ...tags])],
        }
        now = withEntry(now, merged)
        result.push(merged)
      }
      return now
    })
    return result
  }, options)
}

/** Puts every entry into staging, under its digest. */
async function unpack(
  path: string,
  staging: Staging,
  { signal, onProgress }: WorkOptions,
): Promise<{ readonly index: ReferenceIndex; readonly staged: ReadonlyMap<Digest, string> }> {
  await using archive = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(
    (cause: NodeJS.ErrnoException) => {
      throw pathError(cause, `cannot read archive ${path}: ${cause.message}`, { details: { path } })
    },
  )
  const found = await archive.stat()
  if (!found.isFile()) throw new VarveError('PATH_INVALID', `archive ${path} is not a regular file`)
  const reader = new ArchiveReader(archive, path, found.size)
  const staged = new Map<Digest, string>()
  let index: ReferenceIndex | undefined
  for (let count = 0; ; count++) {
    throwIfAborted(signal, path)
    const at = reader.offset
    const fail = (detail: string) =>
      new VarveError('FORMAT_INVALID', `archive ${path}, byte ${at}: ${detail}`, {
        details: { path, offset: at },
      })
    if (count > maxEntries) throw fail(`more than ${maxEntries} entries`)
    const header = await readHeader((length) => reader.read(length), path, at)
    if (header === undefined) break
    const { entry } = header
    const name = entry.name.replace(/^\.\//, '')
    onProgress?.(`${reader.offset >> 20} of ${found.size >> 20} MiB read`)
    const blob = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1]
    if (entry.kind === 'directory') {
      if (!/^(|blobs\/?|blobs\/sha256\/?)$/.test(name)) throw fail(`directory ${JSON.stringify(name)}`)
    } else if (blob !== undefined) {
      const digest = digestOf(blob)
      if (staged.has(digest)) throw fail(`${name} comes twice`)
      const target = join(staging.directory, blob)
      await reader.unpack(entry, target, signal)
      staged.set(digest, target)
    } else if (name === 'index.json' || name === 'oci-layout') {
      if (entry.isSparse || entry.sizeBytes > maxIndexBytes) throw fail(`${name} of ${entry.sizeBytes} bytes`)
      const bytes = await reader.readContent(entry.sizeBytes)
      if (name === 'index.json') index = indexFromJson(bytes, `${path}:index.json`)
    } else throw fail(`an entry named ${JSON.stringify(name.slice(0, 100))}`)
  }
  if (index === undefined)
    throw new VarveError('FORMAT_INVALID', `archive ${path} has no index.json`, {
      details: { path, offset: 0 },
    })
  return { index, staged }
}

class ArchiveReader {
  offset = 0
  readonly #handle: FileHandle
  readonly #path: string
  readonly #size: number

  constructor(handle: FileHandle, path: string, size: number) {
    this.#handle = handle
    this.#path = path
    this.#size = size
  }

  /** The next bytes; fewer where the archive ends. */
  async read(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.min(length, this.#size - this.offset))
    await this.#fill(bytes)
    return bytes
  }

  async #fill(bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, bytes.length - done, this.offset + done)
      if (bytesRead === 0) throw this.#cutOff()
      done += bytesRead
    }
    this.offset += bytes.length
  }

  #cutOff(): VarveError {
    return new VarveError(
      'FORMAT_INVALID',
      `archive ${this.#path} ends at byte ${this.#size}, within an entry`,
      {
        details: { path: this.#path, offset: this.#size },
      },
    )
  }

  async readContent(sizeBytes: number): Promise<Buffer> {
    const whole = sizeBytes + paddingOf(sizeBytes).length
    if (this.offset + whole > this.#size) throw this.#cutOff()
    return (await this.read(whole)).subarray(0, sizeBytes)
  }

  /** Writes an entry into a new file, its holes as holes. */
  async unpack(entry: TarEntry, target: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.offset + entry.storedBytes > this.#size) throw this.#cutOff()
    const { extents } = entry.isSparse
      ? await readSparseMap((length) => this.read(length), entry, this.#path)
      : { extents: [{ startBytes: 0, endBytes: entry.sizeBytes }] }
    await using file = await createFile(target)
    truncate(file, entry.sizeBytes)
    const buffer = Buffer.allocUnsafe(chunkBytes)
    for (const { startBytes, endBytes } of extents)
      for (let at = startBytes; at < endBytes; ) {
        throwIfAborted(signal, this.#path)
        const part = buffer.subarray(0, Math.min(chunkBytes, endBytes - at))
        await this.#fill(part)
        writeAt(file, part, at)
        at += part.length
      }
    const rest = this.offset % blockBytes
    if (rest > 0) await this.read(blockBytes - rest)
  }
}

/** Where a blob is: just unpacked, or in the store already. */
function placeOf(store: LocalStore, staged: ReadonlyMap<Digest, string>, digest: Digest): string {
  return staged.get(digest) ?? store.blobs.path(digest)
}

async function checkSnapshot(
  store: LocalStore,
  staged: ReadonlyMap<Digest, string>,
  entry: SnapshotEntry,
  options: WorkOptions,
): Promise<SnapshotManifest> {
  const path = placeOf(store, staged, entry.manifest.digest)
  await hashOnce(store, staged, entry.manifest, new Map(), options)
  const manifest = manifestFromJson(readSmallFile(path, maxSmallBytes), path)
  const configPath = placeOf(store, staged, manifest.config.digest)
  const config = snapshotConfigFromJson(readSmallFile(configPath, maxSmallBytes), configPath)
  if (manifest.id !== entry.id || config.id !== entry.id || config.disks.length !== manifest.disks.length)
    throw new VarveError('IMAGE_MISMATCH', `${path} and its config are not of snapshot ${entry.id}`, {
      details: { path, offset: 0 },
    })
  return manifest
}

/** That a blob has the bytes that its name promises, wherever it is; each once. */
async function hashOnce(
  store: LocalStore,
  staged: ReadonlyMap<Digest, string>,
  descriptor: Descriptor,
  hashed: Map<Digest, StagedBlob>,
  options: WorkOptions,
): Promise<void> {
  const { digest, mediaType, size } = descriptor
  if (hashed.has(digest)) return
  const path = staged.get(digest)
  if (path === undefined) {
    await store.blobs.assertRight(descriptor, options)
    hashed.set(digest, { descriptor, path: null })
    return
  }
  const found = await store.stageBlob(path, mediaType, undefined, options)
  if (found.descriptor.digest !== digest || found.descriptor.size !== size)
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `blob ${hexOf(digest)} of the archive has ${found.descriptor.size} bytes with SHA-256 ${hexOf(found.descriptor.digest)}`,
      { remedy: 'export it again', details: { path: `blobs/sha256/${hexOf(digest)}`, offset: 0 } },
    )
  hashed.set(digest, found)
}

/** That the layers lie on each other and the map is what they make: a restore believes it. */
async function checkLayers(
  store: LocalStore,
  staged: ReadonlyMap<Digest, string>,
  manifest: SnapshotManifest,
  options: WorkOptions,
): Promise<void> {
  const layers = []
  for (const { digest } of manifest.layers)
    layers.push(await readLayer(placeOf(store, staged, digest), options))
  assertChain(layers, manifest.id)
  const path = placeOf(store, staged, manifest.extentMap.digest)
  const stored = manifest.layers.map((layer) => storedPagesOf(layer, path))
  const map = extentMapFromBytes(readSmallFile(path, maxExtentMapBytes), stored, path)
  if (!isMapOf(map, layers))
    throw new VarveError('IMAGE_MISMATCH', `${path} is not the image that its layers make`, {
      details: { path, offset: 0 },
    })
}
