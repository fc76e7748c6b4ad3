import type { SnapshotEntry } from '../store/snapshot-types.js'

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
