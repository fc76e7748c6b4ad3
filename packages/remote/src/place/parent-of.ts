import type { BlobSource, Descriptor, SourceOptions } from 'varve'
import { Fields, idPattern, maxSmallBytes, parseJson } from 'varve/testing'
import { readSmallBlob } from './read-small-blob.js'

/** The parent that a snapshot's config names; null for a base. */
export async function parentOf(
  blobs: BlobSource,
  config: Descriptor,
  options: SourceOptions,
): Promise<string | null> {
  const path = `${blobs.location}, config ${config.digest}`
  const fields = new Fields(path, parseJson(await readSmallBlob(blobs, config, maxSmallBytes, options), path))
  return fields.raw('parent') === null ? null : fields.text('parent', idPattern, 'an id or null')
}
