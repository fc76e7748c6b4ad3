import { lstatSync } from 'node:fs'
import type { Digest } from '../content/descriptors.js'
import { digestOf, hexOf } from '../content/descriptors.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { removeDirectory, removeFile, renameSmallFile, syncDirectory } from '../sys/mutations.js'
import { type HeldDirectory, holdOwnDirectory } from '../sys/own-directory.js'
import { statOrNone } from './blobs.js'
import { leftClones } from './clone-directories.js'
import { assertOwnDirectories } from './create-store.js'
import { gcTurn, inShortTurns } from './gc-turn.js'
import { readLeases } from './leases.js'
import { isTemporary, leftOvers, removeLeftOvers } from './left-overs.js'
import { NeededBlobs } from './needed-blobs.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotEntry } from './snapshot-types.js'
import type { GcReport } from './store-reports.js'

/**
 * Removes everything that no tag and no lease needs. Readers and writers go on meanwhile: the store's lock is
 * held for milliseconds at a time, and blobs that a reader may just be leasing are first put aside, and put
 * back if a lease for them appeared (docs/formats/store-v1.md, "Collecting garbage").
 */
export async function collectGarbage(
  repository: Repository,
  { dryRun = false, signal, onProgress }: WorkOptions & { readonly dryRun?: boolean },
): Promise<GcReport> {
  const options = { signal, onProgress }
  // Check again, because the store may have been open for a month: gc must remove only the store's own files.
  assertOwnDirectories(repository.paths)
  if (dryRun) return await lookOnly(repository, options)
  await using _turn = await gcTurn(repository.paths, options)
  using garbage = holdOwnDirectory(repository.paths.garbage)
  using blobs = holdOwnDirectory(repository.paths.blobs)
  await takeBack(repository, { garbage, blobs }, options)
  const { unneeded, droppable, needed, leasedBlobs } = await look(repository, options)
  // References go first: from here on no reader finds a snapshot that is being removed.
  const dropped = await dropReferences(repository, droppable, options)
  throwIfAborted(signal, 'gc')
  await setAside(repository, unneeded, needed, { garbage, blobs }, options)
  const back = await putBackLeased(repository, dropped, { garbage, blobs }, options)
  const names = garbage.names()
  onProgress?.(`removing ${names.length} blobs`)
  let removedBytes = 0
  let removedBlobs = 0
  for (const name of names) {
    const found = await statOrNone(garbage.at(name).reached)
    removedBytes += Number(found?.blocks ?? 0n) * 512
    if (isHex(name)) removedBlobs++
    await (found?.isDirectory() ? removeDirectory : removeFile)(garbage.at(name))
  }
  const clones = await leftClones(repository.paths.clones)
  const left = await leftOvers(repository, clones.ended)
  await removeLeftOvers(repository, left)
  await syncDirectory(repository.paths.blobs)
  return {
    removedBlobs,
    removedBytes,
    removedSnapshots: dropped.filter((it) => !back.includes(it)).map(({ id }) => id),
    removedStaging: left.stagings.length,
    removedFlat: left.flats.filter((name) => !/\.(mark|lock)$/.test(name)).length,
    removedLeases: left.leases.filter((name) => !isTemporary(name)).length,
    removedClones: left.clones.length,
    unknownClones: clones.unknown,
    leasedBlobs,
  }
}

interface Held {
  readonly garbage: HeldDirectory
  readonly blobs: HeldDirectory
}

const isHex = (name: string) => /^[0-9a-f]{64}$/.test(name)

/** What a gc would remove now. */
async function look(repository: Repository, { onProgress }: WorkOptions) {
  const index = await repository.index()
  const { live } = await readLeases(repository.paths.leases)
  const leased = new Set(live.map(({ snapshot }) => snapshot))
  const droppable = index.snapshots.filter(({ id, tags }) => tags.length === 0 && !leased.has(id))
  onProgress?.('finding what is needed')
  const needed = new NeededBlobs(repository)
  await needed.addIndex({ ...index, snapshots: index.snapshots.filter(({ tags }) => tags.length > 0) })
  const tagged = needed.all.size
  await needed.addIndex({ ...index, snapshots: index.snapshots.filter((it) => !droppable.includes(it)) })
  for (const lease of live) needed.addLease(lease)
  const unneeded = (await repository.blobs.list()).filter((digest) => !needed.has(digest))
  return { unneeded, droppable, needed, leasedBlobs: needed.all.size - tagged }
}

async function lookOnly(repository: Repository, options: WorkOptions): Promise<GcReport> {
  const { unneeded, droppable, leasedBlobs } = await look(repository, options)
  const ids = new Set(droppable.map(({ id }) => id))
  const clones = await leftClones(repository.paths.clones)
  const left = await leftOvers(repository, clones.ended, ids)
  let removedBytes = 0
  for (const digest of unneeded)
    removedBytes += Number((await repository.blobs.stat(digest))?.blocks ?? 0n) * 512
  return {
    removedBlobs: unneeded.length,
    removedBytes,
    removedSnapshots: [...ids],
    removedStaging: left.stagings.length,
    removedFlat: left.flats.filter((name) => !/\.(mark|lock)$/.test(name)).length,
    removedLeases: left.leases.filter((name) => !isTemporary(name)).length,
    removedClones: left.clones.length,
    unknownClones: clones.unknown,
    leasedBlobs,
  }
}

/** After a gc that was cut off, garbage may hold what is needed again: all goes back, and is judged anew. */
async function takeBack(repository: Repository, held: Held, options: WorkOptions): Promise<void> {
  const names = held.garbage.names().filter(isHex)
  await inShortTurns(repository, names, { begin: () => {}, each: (name) => putBack(held, name) }, options)
  if (names.length > 0) await syncDirectory(repository.paths.blobs)
}

/** A blob that was written anew meanwhile may be the whole one of the two. */
function putBack({ garbage, blobs }: Held, name: string): void {
  if (lstatSync(blobs.at(name).reached, { throwIfNoEntry: false }) === undefined)
    renameSmallFile(garbage.at(name), blobs.at(name))
}

/** Gives the entries that were without a tag still when they went. */
async function dropReferences(
  repository: Repository,
  droppable: readonly SnapshotEntry[],
  options: WorkOptions,
): Promise<readonly SnapshotEntry[]> {
  if (droppable.length === 0) return []
  const ids = new Set(droppable.map(({ id }) => id))
  let dropped: readonly SnapshotEntry[] = []
  await repository.locked(
    () =>
      repository.updateIndex((now) => {
        dropped = now.snapshots.filter(({ id, tags }) => ids.has(id) && tags.length === 0)
        return { ...now, snapshots: now.snapshots.filter((it) => !dropped.includes(it)) }
      }),
    options,
  )
  return dropped
}

/** Moves blobs to the garbage, but for those that the index has come to need since they were looked at. */
async function setAside(
  repository: Repository,
  unneeded: readonly Digest[],
  needed: NeededBlobs,
  { garbage, blobs }: Held,
  options: WorkOptions,
): Promise<void> {
  let seen = ''
  const begin = async () => {
    // In this thread: a turn of the thread pool can take longer than all the rest.
    const found = lstatSync(repository.paths.index, { bigint: true, throwIfNoEntry: false })
    const state = `${found?.ino} ${found?.mtimeNs} ${found?.size}`
    if (state !== seen) await needed.addIndex(await repository.index())
    seen = state
  }
  const each = (digest: Digest) => {
    if (!needed.has(digest)) renameSmallFile(blobs.at(hexOf(digest)), garbage.at(hexOf(digest)))
  }
  await inShortTurns(repository, unneeded, { begin, each }, options)
}

/**
 * Puts back the blobs and the index entries of leased snapshots. A reader that wrote its lease before this
 * look finds everything again. A later reader finds nothing, waits for the end of this gc, and looks once
 * more.
 */
async function putBackLeased(
  repository: Repository,
  dropped: readonly SnapshotEntry[],
  held: Held,
  options: WorkOptions,
): Promise<readonly SnapshotEntry[]> {
  const { live } = await readLeases(repository.paths.leases)
  const back = dropped.filter(({ id }) => live.some(({ snapshot }) => snapshot === id))
  const needed = new NeededBlobs(repository)
  await needed.addIndex({ snapshots: back, foreign: [] })
  for (const lease of live) needed.addLease(lease)
  const names = held.garbage.names().filter((name) => isHex(name) && needed.has(digestOf(name)))
  for (const name of names) putBack(held, name)
  if (names.length > 0) await syncDirectory(repository.paths.blobs)
  if (back.length > 0)
    await repository.locked(
      () =>
        repository.updateIndex((now) => {
          // An import may have brought one of them again meanwhile.
          const missing = back.filter(({ id }) => !now.snapshots.some((it) => it.id === id))
          return { ...now, snapshots: [...now.snapshots, ...missing] }
        }),
      options,
    )
  return back
}
