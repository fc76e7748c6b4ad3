import { notFound, type SourceOptions, VarveError } from 'varve'
import { idPattern } from 'varve/testing'
import type { RemotePlace } from '../place/remote-place.js'

/**
 * Removes a reference of a place, or with an id what finds the snapshot by it. Blobs stay: a registry's
 * garbage collection removes them once nothing names them. NOT_FOUND; ALREADY_EXISTS if another writer
 * changed the reference meanwhile.
 * @param place where the snapshot is
 * @param ref a tag or a whole id
 */
export async function removeRemote(
  place: RemotePlace,
  ref: string,
  options: SourceOptions = {},
): Promise<void> {
  if (idPattern.test(ref)) {
    if (await place.artifacts.forgetSnapshot(ref, options)) return
    throw notFound('snapshot', `no snapshot ${ref} in ${place.location}`)
  }
  const target = await place.refs.read(ref, options)
  if (target === undefined) throw notFound('tag', `no snapshot has the tag ${ref} in ${place.location}`)
  if (await place.refs.compareAndSet(ref, target.digest, null, options)) return
  throw new VarveError(
    'ALREADY_EXISTS',
    `${ref} of ${place.location} was changed by another writer meanwhile`,
    {
      remedy: 'look at it again with varve ls, and remove it if it still is to go',
    },
  )
}
