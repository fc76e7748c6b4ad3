import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { LocalStore } from 'varve'
import { storePaths } from 'varve/testing'
import type { RunPaths } from './run.js'

/**
 * Files that a page server leaves in its directory, docs/formats/page-server-protocol.md; `vms` must be
 * empty.
 */
const ofPageServer = new Set([
  'start.lock',
  'server.lock',
  'server.log',
  'guard.log',
  'successor.json',
  'deaths.json',
  'control.sock',
  'program',
  'vms',
])

/** Files that should not be left after everything was stopped and collected: a line for each. */
export async function residueOf(run: RunPaths, store: LocalStore): Promise<string[]> {
  const left: string[] = []
  const stays = (directory: string, allowed: (name: string) => boolean, what: string) => {
    for (const name of existsSync(directory) ? readdirSync(directory) : [])
      if (!allowed(name)) left.push(`${what}: ${relative(run.directory, join(directory, name))}`)
  }
  stays(
    run.runtime,
    (name) => /^(machines|ended|page-server-\d+|log-keeper\.lock)$/.test(name),
    'in the runtime directory',
  )
  stays(join(run.runtime, 'machines'), () => false, 'a machine')
  for (const name of existsSync(run.runtime) ? readdirSync(run.runtime) : []) {
    if (!name.startsWith('page-server-')) continue
    stays(join(run.runtime, name), (it) => ofPageServer.has(it), 'of the page server')
    stays(join(run.runtime, name, 'vms'), () => false, 'a served VM')
    // The last guard removes the copy that it runs from; a guard that is killed leaves it to the next start.
    const programs = join(run.runtime, name, 'program')
    const copies = existsSync(programs) ? readdirSync(programs) : []
    if (copies.length > 1) left.push(`copies of the page server: ${copies.join(', ')}`)
  }
  const paths = storePaths(run.store)
  const ids = new Set<string>((await store.list()).map(({ id }) => id))
  const blobs = new Set(readdirSync(paths.blobs))
  stays(paths.directory, (name) => /^(oci-layout|index\.json|blobs|varve)$/.test(name), 'in the store')
  for (const empty of ['staging', 'leases', 'garbage', 'clones'] as const)
    stays(paths[empty], () => false, 'in the store')
  stays(paths.verified, (name) => blobs.has(name.split('.')[0] ?? ''), 'a mark of no blob')
  stays(
    paths.flat,
    (name) => ids.has(name.split('.')[0] ?? '') && /^[0-9a-f]{32}(\.mark|\.lock)?$/.test(name),
    'a flat file',
  )
  stays(
    run.exchange,
    (name) => /^w[0-9]+-[0-9]+-[01]\.tar$/.test(name) || name.startsWith('import-'),
    'an archive',
  )
  // Left by a boot that was killed: the lab's files, not the product's.
  stays(run.temporary, (name) => name.startsWith('varve-micro-'), 'a temporary file')
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n'))
    if (line.includes(run.directory)) left.push(`a mount: ${line}`)
  return left
}
