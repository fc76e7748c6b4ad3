import { notFound } from '../not-found.js'
import { type ImagePlaces, translateWorkingSet } from '../working-set/translate.js'
import { assertWorkingSetOf, type WorkingSet } from '../working-set/working-set.js'
import { readWorkingSet } from '../working-set/working-set-file.js'
import type { OpenSnapshot, SnapshotStore, WorkOptions } from './store-types.js'

export interface FittedWorkingSet {
  readonly workingSet: WorkingSet
  /** Pages of the set that this image has other content for; 0 if the set is of this image. */
  readonly droppedPages: number
}

/**
 * A working set for the image of a snapshot: as it is if it was recorded on it (or is kept in it under a
 * name), translated if it was recorded on a snapshot that this one descends from and that is still in the
 * store. IMAGE_MISMATCH for any other, NOT_FOUND for a name that the snapshot does not have.
 */
export async function fitWorkingSet(
  store: SnapshotStore,
  snapshot: OpenSnapshot,
  setOrName: WorkingSet | string,
  { signal }: WorkOptions = {},
): Promise<FittedWorkingSet> {
  const { entry, map } = snapshot
  const workingSet = typeof setOrName === 'string' ? await readNamed(snapshot, setOrName, signal) : setOrName
  if (workingSet.image === entry.id || !(await descends(store, snapshot, workingSet.image))) {
    assertWorkingSetOf(workingSet, entry.id, map.pages)
    return { workingSet, droppedPages: 0 }
  }
  await using ancestor = await store.open(workingSet.image, { signal })
  const translated = translateWorkingSet(workingSet, placesOf(ancestor), placesOf(snapshot))
  return {
    workingSet: translated.workingSet,
    droppedPages: translated.droppedReadOnlyPages + translated.droppedWrittenPages,
  }
}

async function readNamed(
  { entry, workingSetFiles }: OpenSnapshot,
  name: string,
  signal: AbortSignal | undefined,
): Promise<WorkingSet> {
  const file = workingSetFiles.find((it) => it.name === name)
  if (file !== undefined) return readWorkingSet(file.path, { signal })
  const names = workingSetFiles.map((it) => it.name).join(', ')
  throw notFound('working set', `snapshot ${entry.id} has no working set ${name}`, {
    remedy:
      names === '' ? 'the snapshot has no working set: record one (varve ws record)' : `it has ${names}`,
  })
}

/**
 * Whether `image` is among the snapshots that this one was taken on top of, as
 * far as the store still has them.
 */
async function descends(store: SnapshotStore, snapshot: OpenSnapshot, image: string): Promise<boolean> {
  const entries = new Map((await store.list()).map((entry) => [entry.id, entry]))
  const seen = new Set<string>()
  for (let id = snapshot.entry.parent; id !== null && !seen.has(id); id = entries.get(id)?.parent ?? null) {
    if (id === image) return entries.has(id)
    seen.add(id)
  }
  return false
}

const placesOf = ({ entry, map, layers }: OpenSnapshot): ImagePlaces => ({
  image: entry.id,
  map,
  layers: layers.map(({ digest }) => digest),
})
