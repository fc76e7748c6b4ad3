import { basename } from 'node:path'
import { removeDirectory, removeFile } from '../sys/mutations.js'
import { holdOwnDirectory } from '../sys/own-directory.js'
import { hexOf } from './descriptors.js'
import { readLeases } from './leases.js'
import type { LocalStore } from './local-store.js'
import { deadStagings } from './staging.js'

/** Names of what is left over in each of a store's directories; blobs apart. */
export interface LeftOvers {
  readonly stagings: readonly string[]
  readonly clones: readonly string[]
  readonly flats: readonly string[]
  readonly verified: readonly string[]
  readonly leases: readonly string[]
}

/** Half-written files alongside those that are replaced whole; see `replaceCachedFile` for what a process does that was just writing one. */
export const isTemporary = (name: string): boolean => /\.tmp-[0-9a-f]{12}$/.test(name)

/** `gone`: snapshots that are about to go, and are to be taken for gone. */
export async function leftOvers(
  store: LocalStore,
  clones: readonly string[],
  gone: ReadonlySet<string> = new Set(),
): Promise<LeftOvers> {
  const { paths } = store
  // Names before the list of what they belong to: a snapshot or blob that comes in between is in that list.
  const [flats, verified, leases] = [paths.flat, paths.verified, paths.leases].map(namesIn) as [
    string[],
    string[],
    string[],
  ]
  const there = new Set((await store.blobs.list()).map(hexOf))
  const ids = new Set((await store.list()).map(({ id }) => id).filter((id) => !gone.has(id)))
  const { stale } = await readLeases(paths.leases)
  return {
    stagings: (await store.locked(() => deadStagings(paths.staging))).map((path) => basename(path)),
    clones: clones.map((path) => basename(path)),
    flats: flats.filter((name) => isTemporary(name) || !ids.has(name.split('.')[0] ?? '')),
    // A mark, or one of the marks, of each blob.
    verified: verified.filter((name) => isTemporary(name) || !there.has(name.split('.')[0] ?? '')),
    leases: [...leases.filter(isTemporary), ...stale.map((path) => basename(path))],
  }
}

function namesIn(path: string): string[] {
  using directory = holdOwnDirectory(path)
  return directory.names()
}

/** Removes them relative to the open directories, so that nothing outside of the store can be meant. */
export async function removeLeftOvers(
  store: LocalStore,
  { stagings, clones, flats, verified, leases }: LeftOvers,
): Promise<void> {
  const { paths } = store
  for (const [path, names] of [
    [paths.staging, stagings],
    [paths.clones, clones],
  ] as const) {
    using directory = holdOwnDirectory(path)
    for (const name of names) await removeDirectory(directory.at(name))
  }
  for (const [path, names] of [
    [paths.flat, flats],
    [paths.verified, verified],
    [paths.leases, leases],
  ] as const) {
    using directory = holdOwnDirectory(path)
    for (const name of names) await removeFile(directory.at(name))
  }
  // The index is written under the store's lock: with that held, no process is writing one.
  await store.locked(async () => {
    using directory = holdOwnDirectory(paths.directory)
    for (const name of directory.names().filter(isTemporary)) await removeFile(directory.at(name))
  })
}
