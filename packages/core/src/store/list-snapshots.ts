import { VarveError } from '../errors.js'
import { assertLabels, hasLabels, type Labels } from '../labels.js'
import type { Repository } from './repository.js'
import type { ListSnapshotsOptions } from './snapshot-store.js'
import type { SnapshotEntry } from './snapshot-types.js'

export async function listSnapshots(
  repository: Repository,
  { labels = {} }: ListSnapshotsOptions,
): Promise<readonly SnapshotEntry[]> {
  assertLabels(labels)
  const entries = await repository.list()
  if (Object.keys(labels).length === 0) return entries
  const found: SnapshotEntry[] = []
  // One after the other: a store may hold more snapshots than a process may open files.
  for (const entry of entries) if (await isLabelled(repository, entry, labels)) found.push(entry)
  return found
}

/** What labels a damaged snapshot has, or one that gc has just removed, cannot be read. */
async function isLabelled(repository: Repository, entry: SnapshotEntry, labels: Labels): Promise<boolean> {
  try {
    const { config } = await repository.describeEntry(entry)
    return hasLabels(config.labels ?? {}, labels)
  } catch (error) {
    if (error instanceof VarveError) return false
    throw error
  }
}
