import { join } from 'node:path'
import type { Descriptor } from '../content/descriptors.js'
import { annotations, mediaTypes } from '../content/descriptors.js'
import { notFound } from '../not-found.js'
import { assertWorkingSetName, assertWorkingSetOf, type WorkingSet } from '../working-set/working-set.js'
import { writeWorkingSet } from '../working-set/working-set-file.js'
import type { StagedBlob } from './layer-chain.js'
import { noSuchWorkingSet } from './read-kept-working-set.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotEntry, Staging } from './snapshot-types.js'

export async function saveWorkingSet(
  repository: Repository,
  ref: string,
  name: string,
  workingSet: WorkingSet,
  options: WorkOptions,
): Promise<SnapshotEntry> {
  assertWorkingSetName(name)
  const { id, config } = await repository.describe(ref).then(({ entry, config: it }) => ({
    id: entry.id,
    config: it,
  }))
  assertWorkingSetOf(workingSet, id, config.memoryPages)
  await using staging = await repository.stage()
  const path = join(staging.directory, 'working-set')
  await writeWorkingSet(path, workingSet, options)
  const blob = await repository.stageBlob(path, mediaTypes.workingSet, { [annotations.name]: name }, options)
  return await changeWorkingSets(repository, id, staging, [blob], options, (sets) => [
    ...sets.filter((it) => nameOf(it) !== name),
    blob.descriptor,
  ])
}

export async function removeWorkingSet(
  repository: Repository,
  ref: string,
  name: string,
  options: WorkOptions,
): Promise<SnapshotEntry> {
  const { entry, workingSets } = await repository.describe(ref)
  if (!workingSets.some((it) => it.name === name))
    throw noSuchWorkingSet(
      entry.id,
      name,
      workingSets.map((it) => it.name),
    )
  await using staging = await repository.stage()
  return await changeWorkingSets(repository, entry.id, staging, [], options, (sets) =>
    sets.filter((it) => nameOf(it) !== name),
  )
}

/** Gives a snapshot working sets whose files are in the store. Each replaces the one that has its name. */
export async function addWorkingSets(
  repository: Repository,
  entry: SnapshotEntry,
  added: readonly Descriptor[],
  options: WorkOptions,
): Promise<SnapshotEntry> {
  const { manifest } = await repository.readManifest(entry)
  const has = (sets: readonly Descriptor[], set: Descriptor) =>
    sets.some((it) => it.digest === set.digest && nameOf(it) === nameOf(set))
  if (added.every((set) => has(manifest.workingSets, set))) return entry
  const names = new Set(added.map(nameOf))
  await using staging = await repository.stage()
  return await changeWorkingSets(repository, entry.id, staging, [], options, (sets) => [
    ...sets.filter((it) => !names.has(nameOf(it))),
    ...added,
  ])
}

const nameOf = (set: Descriptor) => set.annotations?.[annotations.name]

/** A manifest with other working sets in place of the present one, whatever that is by then. */
async function changeWorkingSets(
  repository: Repository,
  id: string,
  staging: Staging,
  staged: readonly StagedBlob[],
  options: WorkOptions,
  change: (sets: readonly Descriptor[]) => readonly Descriptor[],
): Promise<SnapshotEntry> {
  for (;;) {
    const entry = await repository.resolve(id)
    const { manifest } = await repository.readManifest(entry)
    const changed = { ...manifest, workingSets: change(manifest.workingSets) }
    const result = await repository.publish(staging, changed, staged, options, async (index, descriptor) => {
      const now = index.snapshots.find((it) => it.id === id)
      if (now === undefined) throw notFound('snapshot', `snapshot ${id} was removed meanwhile`)
      return now.manifest.digest === entry.manifest.digest ? { ...now, manifest: descriptor } : undefined
    })
    if (result !== undefined) return result
  }
}
