import { type ImagePlaces, translateWorkingSet } from '../working-set/translate.js'
import { assertWorkingSetOf, type WorkingSet } from '../working-set/working-set.js'
import { readWorkingSet } from '../working-set/working-set-file.js'
import { noSuchWorkingSet } from './read-kept-working-set.js'
import type { SnapshotStore, WorkOptions } from './snapshot-store.js'
import type { OpenSnapshot } from './snapshot-types.js'

/** A working set for an image, and what did not fit. */
export interface FittedWorkingSet {
  /** The set, of the image that was asked for. */
  readonly workingSet: WorkingSet
  /** Pages of the set that this image has other content for; 0 if the set is of this image. */
  readonly droppedPages: number
  /**
   * The snapshot's own file of this very set, there as long as the snapshot is open; null if there is none.
   */
  readonly path: string | null
}

/** What `fitWorkingSet` needs of a store. */
export type WorkingSetPlaces = Pick<SnapshotStore, 'list' | 'open' | 'readWorkingSet'>

/**
 * A working set for the image of a snapshot. `setOrName` is a set, the name of one that this snapshot keeps,
 * or `REF:NAME` of one that another snapshot keeps. If the set was recorded on this image, it is returned as
 * it is. If it was recorded on a snapshot that this one descends from and that is still in the store, it is
 * translated. IMAGE_MISMATCH for any other, NOT_FOUND if there is no set of that name.
 */
export async function fitWorkingSet(
  store: WorkingSetPlaces,
  snapshot: OpenSnapshot,
  setOrName: WorkingSet | string,
  { signal }: WorkOptions = {},
): Promise<FittedWorkingSet> {
  const { entry, map } = snapshot
  const { workingSet, path } =
    typeof setOrName === 'string'
      ? await readNamed(store, snapshot, setOrName, signal)
      : { workingSet: setOrName, path: null }
  if (workingSet.image === entry.id || !(await descends(store, snapshot, workingSet.image))) {
    assertWorkingSetOf(workingSet, entry.id, map.pages)
    return { workingSet, droppedPages: 0, path }
  }
  await using ancestor = await store.open(workingSet.image, { signal })
  const translated = translateWorkingSet(workingSet, placesOf(ancestor), placesOf(snapshot))
  return {
    workingSet: translated.workingSet,
    droppedPages: translated.droppedReadOnlyPages + translated.droppedWrittenPages,
    path: null,
  }
}

async function readNamed(
  store: WorkingSetPlaces,
  { entry, workingSetFiles }: OpenSnapshot,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Pick<FittedWorkingSet, 'workingSet' | 'path'>> {
  if (name.includes(':')) return { workingSet: await store.readWorkingSet(name, { signal }), path: null }
  const file = workingSetFiles.find((it) => it.name === name)
  if (file !== undefined) return { workingSet: await readWorkingSet(file.path, { signal }), path: file.path }
  throw noSuchWorkingSet(
    entry.id,
    name,
    workingSetFiles.map((it) => it.name),
  )
}

/**
 * Whether `image` is among the snapshots that this one was taken on top of, as far as the store still has
 * them.
 */
async function descends(store: WorkingSetPlaces, snapshot: OpenSnapshot, image: string): Promise<boolean> {
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
