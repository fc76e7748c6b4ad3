import { withLine } from '../inspect-line.js'
import type { SnapshotDescription } from './snapshot-types.js'

/** Has `console.log` print a snapshot as one line: its config alone takes sixty. */
export const withSnapshotLine = <Snapshot extends SnapshotDescription>(snapshot: Snapshot): Snapshot =>
  withLine(snapshot, ({ entry: { id, tags, parent }, config: { kind, memoryPages }, layers }) => {
    const names = tags.length === 0 ? 'no tag' : tags.join(', ')
    const below = parent === null ? 'a base' : `on ${parent.slice(0, 12)}`
    return `Snapshot ${id.slice(0, 12)} (${names}; ${kind}, ${below}; ${memoryPages} pages, layers: ${layers.length})`
  })
