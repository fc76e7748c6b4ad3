import type { SnapshotEntry } from 'varve'
import type { ImageId } from 'varve/layers'

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
