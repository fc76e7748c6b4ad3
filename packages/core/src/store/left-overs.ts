import { basename } from 'node:path'
import { hexOf } from '../content/descriptors.js'
import { removeDirectory, removeFile } from '../sys/mutations.js'
import { holdOwnDirectory } from '../sys/own-directory.js'
import { readLeases } from './leases.js'
import type { Repository } from './repository.js'
import { deadStagings } from './staging.js'

/** Names of left-over files in each of a store's directories, except blobs. */
interface LeftOvers {
  readonly stagings: readonly string[]
  readonly clones: readonly string[]
  readonly flats: readonly string[]
  readonly verified: readonly string[]
  readonly leases: readonly string[]
}

/**
 * Half-written files alongside those that are replaced whole; see `replaceCachedFile` for what a process does
 * that was just writing one.
 */
export const isTemporary = (name: string): boolean => /\.tmp-[0-9a-f]{12}$/.test(name)

/** `gone`: snapshots that are about to be removed, and count as removed. */
export async function leftOvers(
  repository: Repository,
  clones: readonly string[],
  gone: ReadonlySet<string> = new Set(),
): Promise<LeftOvers> {
  const { paths } = repository
  // List the files before the snapshots and blobs that they belong to: one that is added in between is in the
  // second list.
  const [flats, verified, leases] = [paths.flat, paths.verified, paths.leases].map(namesIn) as [
    string[],
    string[],
    string[],
  ]
  const there = new Set((await repository.blobs.list()).map(hexOf))
  const ids = new Set((await repository.list()).map(({ id }) => id).filter((id) => !gone.has(id)))
  const { stale } = await readLeases(paths.leases)
  return {
    stagings: (await repository.locked(() => deadStagings(paths.staging))).map((path) => basename(path)),
    clones: clones.map((path) => basename(path)),
    flats: flats.filter((name) => isTemporary(name) || !ids.has(name.split('.')[0] ?? '')),
    // Each blob may have several marks.
    verified: verified.filter((name) => isTemporary(name) || !there.has(name.split('.')[0] ?? '')),
    leases: [...leases.filter(isTemporary), ...stale.map((path) => basename(path))],
  }
}

function namesIn(path: string): string[] {
  using directory = holdOwnDirectory(path)
  return directory.names()
}

/** Removes them relative to the open directories, so that no removal leaves the repository. */
export async function removeLeftOvers(
  repository: Repository,
  { stagings, clones, flats, verified, leases }: LeftOvers,
): Promise<void> {
  const { paths } = repository
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
  // The index is written under the store's lock: while this process holds it, no other process is writing
  // one.
  await repository.locked(async () => {
    using directory = holdOwnDirectory(paths.directory)
    for (const name of directory.names().filter(isTemporary)) await removeFile(directory.at(name))
  })
}
