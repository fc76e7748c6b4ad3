import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { residentBytes } from 'varve'
import { openDescriptors, storePaths } from 'varve/testing'

/** Memory, threads and descriptors by kind of one process. */
export function gaugeProcess(pid) {
  const kinds = {}
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

const entries = (directory) => (existsSync(directory) ? readdirSync(directory).length : 0)

/** Entries of the directories that a long life could fill. */
export function gaugeDirectories({ runtime, store }) {
  const paths = storePaths(store)
  const ofStore = ['staging', 'leases', 'garbage', 'flat', 'verified', 'clones', 'blobs']
  return {
    machines: entries(join(runtime, 'machines')),
    ended: entries(join(runtime, 'ended')),
    served: entries(join(runtime, 'page-server-2', 'vms')),
    'page-server': entries(join(runtime, 'page-server-2')),
    ...Object.fromEntries(ofStore.map((name) => [name, entries(paths[name])])),
  }
}

/** All gauges of one moment, flat: `self.rssMib`, `server.threads`, `leases`, … */
export function gauge(world, processes) {
  globalThis.gc?.()
  const row = { ...gaugeDirectories(world) }
  for (const [name, pid] of Object.entries(processes)) {
    const { kinds, ...numbers } = gaugeProcess(pid)
    for (const [what, value] of Object.entries(numbers)) row[`${name}.${what}`] = value
    row[`${name}.kinds`] = kinds
  }
  return row
}
