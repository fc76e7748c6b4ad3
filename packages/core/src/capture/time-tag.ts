import type { SnapshotEntry } from '../store/snapshot-types.js'

/**
 * A name for a snapshot without one: that of the machine, and the time in UTC, such as `web-20260131-123456`.
 * `entries`: the snapshots whose tags it must not take; if one has it, a number follows. `now`: default the
 * present time.
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
