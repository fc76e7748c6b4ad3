import { type Descriptor, notFound, type SourceOptions } from 'varve'
import { idPattern, mediaTypes } from 'varve/testing'
import type { RemotePlace } from '../place/remote-place.js'

/** The manifest of a snapshot at a place, by tag or id. NOT_FOUND. */
export async function findRemote(
  place: RemotePlace,
  ref: string,
  options: SourceOptions = {},
): Promise<Pick<Descriptor, 'mediaType' | 'digest' | 'size'>> {
  if (!idPattern.test(ref)) {
    const target = await place.refs.read(ref, options)
    if (target !== undefined) return target
    throw notFound('tag', `no snapshot has the tag ${ref} in ${place.location}`)
  }
  const digest = await place.artifacts.findSnapshot(ref, options)
  const stat = digest && (await place.blobs.stat(digest, options))
  if (digest === undefined || stat === undefined)
    throw notFound('snapshot', `no snapshot ${ref} in ${place.location}`)
  return { mediaType: mediaTypes.manifest, digest, size: stat.sizeBytes }
}
