import type { SnapshotEntry } from 'varve'
import type { ImageId } from 'varve/layers'

/**
 * A name for a snapshot without one: the machine's name and the time, in UTC; with
 * a number if that name is taken.
 */
export function timeTag(machine: string, entries: readonly SnapshotEntry[], now = new Date()): string {
  const time = now
    .toISOString()
    .replace(/[-:]|\..*/g, '')
    .replace('T', '-')
  const taken = new Set(entries.flatMap(({ tags }) => tags))
  let tag = `${machine}-${time}`
  for (let n = 2; taken.has(tag); n++) tag = `${machine}-${time}-${n}`
  return tag
}

/**
 * Tags that another snapshot of `entries` has. `last`: it has no others, so that gc
 * may remove it once they are gone.
 */
export function movedTags(
  entries: readonly SnapshotEntry[],
  tags: readonly string[],
): { readonly tag: string; readonly from: ImageId; readonly last: boolean }[] {
  return entries.flatMap(({ id, tags: had }) =>
    had
      .filter((tag) => tags.includes(tag))
      .map((tag) => ({ tag, from: id, last: had.every((it) => tags.includes(it)) })),
  )
}
