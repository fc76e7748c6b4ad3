import { assertTag } from '../content/references.js'
import { notFound } from '../not-found.js'
import { endCommitLeases } from './commit-leases.js'
import { findEntry, type ReferenceIndex, withEntry } from './reference-index.js'
import type { Repository } from './repository.js'
import type { SnapshotEntry } from './snapshot-types.js'

export async function addTag(repository: Repository, ref: string, tag: string): Promise<SnapshotEntry> {
  assertTag(tag)
  return changeTags(
    repository,
    (index) => findEntry(index, ref, repository.location),
    ({ tags }) => [...tags.filter((it) => it !== tag), tag],
  )
}

/** The snapshot stays until gc. */
export function removeTag(repository: Repository, tag: string): Promise<SnapshotEntry> {
  return changeTags(
    repository,
    (index) => {
      const entry = index.snapshots.find(({ tags }) => tags.includes(tag))
      if (entry === undefined) throw notFound('tag', `no tag ${tag} in ${repository.location}`)
      return entry
    },
    ({ tags }) => tags.filter((it) => it !== tag),
  )
}

/** The blobs go with the next gc, unless others or a lease need them. */
export function removeAllTags(repository: Repository, ref: string): Promise<SnapshotEntry> {
  return changeTags(
    repository,
    (index) => findEntry(index, ref, repository.location),
    () => [],
  )
}

function changeTags(
  repository: Repository,
  find: (index: ReferenceIndex) => SnapshotEntry,
  tagsOf: (entry: SnapshotEntry) => readonly string[],
): Promise<SnapshotEntry> {
  return repository.locked(async () => {
    let changed: SnapshotEntry | undefined
    await repository.updateIndex((index) => {
      const entry = find(index)
      changed = { ...entry, tags: tagsOf(entry) }
      return withEntry(index, changed)
    })
    const entry = changed as SnapshotEntry
    endCommitLeases(repository.paths.leases, entry.id)
    return entry
  })
}
