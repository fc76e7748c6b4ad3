import { type ReferencedSnapshot, referencedSnapshot, type SourceOptions } from 'varve'
import type { RemotePlace } from '../place/remote-place.js'

/** A snapshot that references of a place mean. */
export interface RemoteSnapshot extends ReferencedSnapshot {
  /** The references that mean it, sorted. */
  readonly tags: readonly string[]
}

/** The snapshots that references of a place mean, the newest first. */
export async function listRemote(
  place: RemotePlace,
  options: SourceOptions = {},
): Promise<readonly RemoteSnapshot[]> {
  const found = new Map<string, { snapshot: ReferencedSnapshot; tags: string[] }>()
  for await (const { name, target } of place.refs.list(options)) {
    const known = found.get(target.digest)
    if (known === undefined) found.set(target.digest, { snapshot: referencedSnapshot(target), tags: [name] })
    else known.tags.push(name)
  }
  return [...found.values()]
    .map(({ snapshot, tags }) => ({ ...snapshot, tags: tags.sort() }))
    .sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? -1 : 1))
}
