import { readdirSync, readlinkSync } from 'node:fs'

/** How many of each kind, files by their path. */
export type DescriptorCounts = Readonly<Record<string, number>>

/** The open descriptors of this process. */
export function ownDescriptors(): DescriptorCounts {
  const counts: Record<string, number> = {}
  for (const fd of readdirSync('/proc/self/fd')) {
    let target: string
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // The descriptor of the listing itself.
      continue
    }
    const kind = target.startsWith('/') ? target : target.replace(/\[\d+\]$/, '')
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Each idle mapper has three socket pairs to this process. */
const socketsOfMapper = 3

/**
 * Descriptors that are open after everything was stopped, and were not at the beginning. Two kinds are no
 * leak: mappers, which wait for the next restore, and one event queue that libuv opens when it first needs
 * it.
 */
export function leakedDescriptors(
  before: DescriptorCounts,
  now: DescriptorCounts,
  mappers: number,
): string[] {
  const leaked: string[] = []
  for (const [kind, count] of Object.entries(now)) {
    const allowed = (before[kind] ?? 0) + (kind === 'socket:' ? socketsOfMapper * mappers : 0) + extra(kind)
    if (count > allowed) leaked.push(`${count} of ${kind}, ${allowed} expected`)
  }
  return leaked
}

const extra = (kind: string): number =>
  kind === 'anon_inode:inotify' || kind === 'anon_inode:[io_uring]' ? 1 : 0
