import type { ImageId } from 'varve/layers'
import type { SnapshotRow } from './snapshot-row.js'

export interface TreeRow {
  readonly row: SnapshotRow
  readonly mark: string
  /** Begins a tree. */
  readonly root: boolean
}

/** Deeper branches are not set in further: the name would leave no room. */
const maxIndent = 8

/**
 * The rows in the order of a tree, each with what to draw before its name. A parent comes right before its
 * children. Only a snapshot that begins a tree stands in the first column. Below it, the child with the
 * longest line stays in its parent's column, after the others, so that a long history is not a staircase:
 *
 * ```
 * base
 * ├ try-1
 * ├ try-2
 * │ try-2b
 * └ day-1
 *   ├ try-3
 *   day-2
 * ```
 */
export function snapshotTree(rows: readonly SnapshotRow[]): readonly TreeRow[] {
  const ids = new Set(rows.map(({ id }) => id))
  const children = new Map<ImageId | null, SnapshotRow[]>()
  for (const row of rows) {
    // A parent that is gone counts as none.
    const parent = row.parent !== null && ids.has(row.parent) ? row.parent : null
    children.set(parent, [...(children.get(parent) ?? []), row])
  }
  const heights = heightsOf(rows)
  const longestOf = (candidates: readonly SnapshotRow[]) =>
    candidates.reduce<SnapshotRow | undefined>(
      (best, it) =>
        best === undefined || (heights.get(it.id) ?? 0) > (heights.get(best.id) ?? 0) ? it : best,
      undefined,
    )
  const placed = new Map<ImageId, TreeRow>()
  // If parents form a circle, it has no root: then the first snapshot of it begins a tree.
  for (const root of [...(children.get(null) ?? []), ...rows]) {
    // A stack of its own: a line of 60,000 snapshots is deeper than the call stack.
    // `bars` is what stands before whatever comes below in the same column.
    const stack = [{ row: root, mark: '', bars: '', isRoot: true }]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const { row, mark, bars, isRoot } = next
      if (placed.has(row.id)) continue
      placed.set(row.id, { row, mark, root: isRoot })
      const below = children.get(row.id) ?? []
      const longest = longestOf(below)
      if (longest === undefined) continue
      const side = bars.slice(0, 2 * (maxIndent - 1))
      stack.push({
        row: longest,
        ...(isRoot ? { mark: '└ ', bars: '  ' } : { mark: bars, bars }),
        isRoot: false,
      })
      for (const it of below.filter((other) => other !== longest).reverse())
        stack.push({ row: it, mark: `${side}├ `, bars: `${side}│ `, isRoot: false })
    }
  }
  return [...placed.values()]
}

/**
 * How many snapshots the longest line from each one down has. `rows` have parents
 * before children: they are older.
 */
function heightsOf(rows: readonly SnapshotRow[]): ReadonlyMap<ImageId, number> {
  const heights = new Map(rows.map(({ id }) => [id, 1]))
  for (const { id, parent } of [...rows].reverse()) {
    const above = parent === null ? undefined : heights.get(parent)
    if (parent !== null && above !== undefined)
      heights.set(parent, Math.max(above, (heights.get(id) as number) + 1))
  }
  return heights
}
