import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { residentBytes } from 'varve'
import { openDescriptors, storePaths } from 'varve/testing'
import type { Moment } from './flat.js'

export type Sample = Moment

/** Pids by the name that their gauges begin with. */
export type Processes = Readonly<Record<string, number>>

export interface Places {
  readonly runtime: string
  readonly store: string
}

interface ProcessGauges {
  readonly rssMib: number
  readonly threads: number
  readonly descriptors: number
  readonly kinds: Readonly<Record<string, number>>
}

/** Memory, threads and descriptors by kind of one process. */
function gaugeProcess(pid: number): ProcessGauges {
  const kinds: Record<string, number> = {}
  for (const { target } of openDescriptors(pid)) {
    const kind = target.startsWith('/') ? 'file' : target.replace(/:?\[\d+\]$/, '')
    kinds[kind] = (kinds[kind] ?? 0) + 1
  }
  return {
    rssMib: Math.round((residentBytes(pid) ?? 0) / 2 ** 18) / 4,
    threads: Number(/^Threads:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]),
    descriptors: Object.values(kinds).reduce((sum, count) => sum + count, 0),
    kinds,
  }
}

const entries = (directory: string): number => (existsSync(directory) ? readdirSync(directory).length : 0)

const ofStore = ['staging', 'leases', 'garbage', 'flat', 'verified', 'clones', 'blobs'] as const

/** Entries of the directories that a long life could fill. */
function gaugeDirectories({ runtime, store }: Places): Record<string, number> {
  const paths = storePaths(store)
  return {
    machines: entries(join(runtime, 'machines')),
    ended: entries(join(runtime, 'ended')),
    served: entries(join(runtime, 'page-server-2', 'vms')),
    'page-server': entries(join(runtime, 'page-server-2')),
    ...Object.fromEntries(ofStore.map((name) => [name, entries(paths[name])])),
  }
}

/** All gauges of one moment, flat: `self.rssMib`, `server.threads`, `leases`, … */
export function gauge(places: Places, processes: Processes): Readonly<Record<string, unknown>> {
  globalThis.gc?.()
  const row: Record<string, unknown> = gaugeDirectories(places)
  for (const [name, pid] of Object.entries(processes))
    for (const [what, value] of Object.entries(gaugeProcess(pid))) row[`${name}.${what}`] = value
  return row
}
