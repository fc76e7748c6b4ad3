import { readdir, stat } from 'node:fs/promises'
import { uptime } from 'node:os'
import { join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { removeDirectory, removeFile, renameFile, syncDirectory } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import { statOrNone } from './blobs.js'
import { parseJson } from './checked-json.js'
import { digestOf, hexOf, isDigest, maxSmallBytes, mediaTypes } from './descriptors.js'
import { readLeases } from './leases.js'
import type { LocalStore } from './local-store.js'
import { entriesOf, manifestFromJson } from './manifest.js'
import { deadStagings } from './staging.js'
import type { Descriptor, Digest, GcReport, SnapshotEntry, WorkOptions } from './store-types.js'

/**
 * Removes what no tag and no lease needs. The caller holds the store's lock; readers do not wait: what they may just be
 * leasing is put aside first, and put back where a lease for it appeared (docs/formats/store-v1.md, "Rules of reading").
 */
export async function collectGarbage(
  store: LocalStore,
  { dryRun = false, signal, onProgress }: WorkOptions & { readonly dryRun?: boolean },
): Promise<GcReport> {
  const { paths, blobs } = store
  if (!dryRun) await takeBack(store)
  const index = await store.index()
  const { live, stale } = await readLeases(paths.leases)
  const leased = new Set(live.map(({ snapshot }) => snapshot))
  const dropped = index.snapshots.filter(({ id, tags }) => tags.length === 0 && !leased.has(id))
  const kept = index.snapshots.filter((entry) => !dropped.includes(entry))

  onProgress?.('finding what is needed')
  const tagged = new Set<Digest>()
  const needed = new Set<Digest>()
  for (const entry of kept) {
    const found = neededBy(store, entry.manifest)
    for (const digest of found) {
      needed.add(digest)
      if (entry.tags.length > 0) tagged.add(digest)
    }
  }
  for (const foreign of index.foreign)
    for (const digest of await neededByForeign(store, foreign)) {
      needed.add(digest)
      tagged.add(digest)
    }
  // A process may need a manifest that its snapshot no longer has (packed or squashed since).
  for (const { manifest } of live) for (const digest of neededByLease(store, manifest)) needed.add(digest)

  const unneeded = (await blobs.list()).filter((digest) => !needed.has(digest))
  let removedBytes = 0
  for (const digest of unneeded) removedBytes += Number((await blobs.stat(digest))?.blocks ?? 0n) * 512
  const stagings = await deadStagings(paths.staging)
  const flats = await unneededFlats(store, kept)
  const marks = await unneededMarks(store, unneeded)
  const clones = await leftClones(paths.clones)
  const report: GcReport = {
    removedBlobs: unneeded.length,
    removedBytes,
    removedSnapshots: dropped.map(({ id }) => id),
    removedStaging: stagings.length,
    removedFlat: flats.filter((path) => !/\.(mark|lock)$/.test(path)).length,
    leasedBlobs: [...needed].filter((digest) => !tagged.has(digest)).length,
  }
  if (dryRun) return report

  // References first: from here on nobody finds what goes.
  if (dropped.length > 0) {
    const gone = new Set(dropped.map(({ id }) => id))
    await store.updateIndex((now) => ({ ...now, snapshots: now.snapshots.filter(({ id }) => !gone.has(id)) }))
  }
  throwIfAborted(signal, 'gc')
  for (const digest of unneeded) await renameFile(blobs.path(digest), join(paths.garbage, hexOf(digest)))
  await putBackLeased(store, dropped)
  onProgress?.(`removing ${unneeded.length} blobs`)
  for (const name of await readdir(paths.garbage)) await removeFile(join(paths.garbage, name))
  for (const path of [...stagings, ...clones]) await removeDirectory(path)
  for (const path of [...flats, ...marks, ...stale, ...(await leftTemporaries(store))]) await removeFile(path)
  await syncDirectory(paths.blobs)
  return report
}

/** Everything a snapshot's manifest names, and itself. Where it cannot be read nothing may be removed. */
function neededBy(store: LocalStore, manifest: Descriptor): readonly Digest[] {
  try {
    const path = store.blobs.path(manifest.digest)
    const read = manifestFromJson(store.blobs.readSmall(manifest.digest), path)
    return [manifest.digest, read.config.digest, ...entriesOf(read).map(({ digest }) => digest)]
  } catch (cause) {
    throw new VarveError('FORMAT_INVALID', `gc cannot tell what is needed: ${(cause as Error).message}`, {
      cause,
      remedy: 'varve fsck says what is wrong; remove the tags of a snapshot that is lost, then gc again',
    })
  }
}

function neededByLease(store: LocalStore, manifest: Digest): readonly Digest[] {
  try {
    return neededBy(store, { mediaType: mediaTypes.manifest, digest: manifest, size: 0 })
  } catch (error) {
    // Its process found nothing there either.
    if (isVarveError((error as Error).cause, 'NOT_FOUND')) return []
    throw error
  }
}

/** What another tool's entry leads to: every descriptor in every JSON document from there on. */
async function neededByForeign(store: LocalStore, entry: unknown): Promise<ReadonlySet<Digest>> {
  const found = new Set<Digest>()
  const queue: unknown[] = [entry]
  while (queue.length > 0) {
    const value = queue.pop()
    if (typeof value !== 'object' || value === null) continue
    const { digest, mediaType } = value as Record<string, unknown>
    if (isDigest(digest) && !found.has(digest)) {
      found.add(digest)
      const isJson = typeof mediaType === 'string' && mediaType.endsWith('+json')
      const size = (await store.blobs.stat(digest))?.size
      if (isJson && size !== undefined && size <= maxSmallBytes) {
        const path = store.blobs.path(digest)
        queue.push(parseJson(readSmallFile(path, maxSmallBytes), path))
      }
    }
    queue.push(...Object.values(value))
  }
  return found
}

/** After a gc that was cut off, garbage may hold what is needed again: all goes back, and is judged anew. */
async function takeBack(store: LocalStore): Promise<void> {
  const { paths, blobs } = store
  const names = (await readdir(paths.garbage)).filter((name) => /^[0-9a-f]{64}$/.test(name))
  for (const name of names) await renameFile(join(paths.garbage, name), blobs.path(digestOf(name)))
  if (names.length > 0) await syncDirectory(paths.blobs)
}

/** Whoever wrote a lease before this look finds everything again; whoever comes later finds nothing, and looks once more. */
async function putBackLeased(store: LocalStore, dropped: readonly SnapshotEntry[]): Promise<void> {
  const { paths, blobs } = store
  const { live } = await readLeases(paths.leases)
  const back = dropped.filter(({ id }) => live.some(({ snapshot }) => snapshot === id))
  if (back.length === 0) return
  const aside = (digest: Digest) => join(paths.garbage, hexOf(digest))
  for (const entry of back) {
    const place = async (digest: Digest) => {
      if ((await statOrNone(aside(digest))) !== undefined) await renameFile(aside(digest), blobs.path(digest))
    }
    await place(entry.manifest.digest)
    for (const digest of neededBy(store, entry.manifest)) await place(digest)
  }
  await store.updateIndex((now) => ({ ...now, snapshots: [...now.snapshots, ...back] }))
}

async function unneededFlats({ paths }: LocalStore, kept: readonly SnapshotEntry[]): Promise<string[]> {
  const ids = new Set(kept.map(({ id }) => id))
  const names = await readdir(paths.flat)
  return names.filter((name) => !ids.has(name.split('.')[0] ?? '')).map((name) => join(paths.flat, name))
}

async function unneededMarks({ paths, blobs }: LocalStore, unneeded: readonly Digest[]): Promise<string[]> {
  const there = new Set((await blobs.list()).map(hexOf))
  for (const digest of unneeded) there.delete(hexOf(digest))
  const names = await readdir(paths.verified)
  return names.filter((name) => !there.has(name)).map((name) => join(paths.verified, name))
}

/** Copies that went with their machines, had this host not gone down: older than its boot. */
async function leftClones(directory: string): Promise<string[]> {
  const bootedAt = Date.now() - uptime() * 1000
  const left: string[] = []
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && found.ctimeMs < bootedAt) left.push(path)
  }
  return left
}

/** Half-written files beside those that are replaced whole; see `replaceCachedFile` for who may be writing one just now. */
async function leftTemporaries({ paths }: LocalStore): Promise<string[]> {
  const left: string[] = []
  for (const directory of [paths.directory, paths.leases, paths.verified, paths.flat])
    for (const name of await readdir(directory))
      if (/\.tmp-[0-9a-f]{12}$/.test(name)) left.push(join(directory, name))
  return left
}
