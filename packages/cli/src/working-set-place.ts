import { isVarveError, type OpenSnapshot, type SnapshotStore, VarveError } from 'varve'
import { fitWorkingSet, readWorkingSet, type WorkingSet, writeWorkingSet } from 'varve/working-sets'
import type { CommandContext } from './command.js'
import { count, shortId } from './text.js'

/** Where a working set is kept: in a snapshot of the store, or in a file of its own. */
export type WorkingSetPlace = { readonly ref: string; readonly name: string } | { readonly path: string }

/** `REF:NAME`, or a path. What has a slash, or no colon, is a path. */
export function placeOf(text: string): WorkingSetPlace {
  const colon = text.indexOf(':')
  if (colon < 0 || text.includes('/')) return { path: text }
  const [ref, name] = [text.slice(0, colon), text.slice(colon + 1)]
  if (ref === '' || name === '') throw new VarveError('USAGE', `${text} is neither REF:NAME nor a file`)
  return { ref, name }
}

export const placeHelp = `SET is REF:NAME, a set kept in a snapshot, or a file (a path with a slash, or without a colon).`

export async function loadWorkingSet(
  store: SnapshotStore,
  text: string,
  { signal }: Pick<CommandContext, 'signal'>,
): Promise<WorkingSet> {
  const place = placeOf(text)
  if ('path' in place) return readWorkingSet(place.path, { signal })
  return store.readWorkingSet(place.ref, place.name, { signal })
}

/**
 * Keeps a set as a file that does not exist yet, or in the snapshot that it is of or in one that descends
 * from it: then without the pages that are others there. IMAGE_MISMATCH for any other snapshot.
 */
export async function keepWorkingSet(
  store: SnapshotStore,
  text: string,
  workingSet: WorkingSet,
  { signal, say }: Pick<CommandContext, 'signal' | 'say'>,
): Promise<void> {
  const place = placeOf(text)
  if ('path' in place) return writeWorkingSet(place.path, workingSet, { signal })
  await using snapshot = await store.open(place.ref, { signal })
  const fitted = await fitWorkingSet(store, snapshot, workingSet, { signal })
  if (fitted.droppedPages > 0)
    say(
      `${count(fitted.droppedPages, 'page')} of ${shortId(workingSet.image)} are others in ${place.ref}: left out`,
    )
  await store.saveWorkingSet(place.ref, place.name, fitted.workingSet, { signal })
}

/** The snapshot whose image a set is of; undefined if this store does not have it. */
export async function openImageOf(
  store: SnapshotStore,
  { image }: WorkingSet,
  { signal, say }: Pick<CommandContext, 'signal' | 'say'>,
): Promise<OpenSnapshot | undefined> {
  try {
    return await store.open(image, { signal })
  } catch (error) {
    if (!isVarveError(error, 'NOT_FOUND')) throw error
    say(`snapshot ${shortId(image)} is not in this store: nothing is said of its layers`)
    return undefined
  }
}
