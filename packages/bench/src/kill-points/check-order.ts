import type { Mutation } from 'varve/testing'
import type { Operation } from './operations.js'

/**
 * What a power cut needs in addition: no file gets a lasting name before its bytes are on disk,
 * no reference before its blobs.
 */
export function checkOrder(operation: Operation, trace: readonly Mutation[], directory: string): string[] {
  const found: string[] = []
  const unsynced = new Set<string>()
  let blobsNamed = false
  for (const { kind, path, from } of trace) {
    const place = path.replace(directory, '')
    if (['create', 'write', 'truncate', 'clone', 'copy'].includes(kind)) unsynced.add(path)
    else if (kind === 'fsync') {
      unsynced.delete(path)
      if (place.endsWith('/blobs/sha256')) blobsNamed = false
    } else if (kind === 'rename' || kind === 'link') {
      const lasting = !/\/varve\/(leases|verified|garbage|staging)\/|\.mark$/.test(place)
      if (lasting && from !== undefined && unsynced.has(from))
        found.push(`${operation}: ${place} got its name before it was synced`)
      if (place.includes('/blobs/sha256/')) blobsNamed = true
      if (place.endsWith('/index.json') && blobsNamed)
        found.push(`${operation}: index.json was replaced before the blobs' names were synced`)
    }
  }
  return found
}
