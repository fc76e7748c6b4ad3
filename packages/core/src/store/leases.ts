import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { removeSmallFile } from '../sys/mutations.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { Fields, readJsonFile } from './checked-json.js'
import { idPattern, isDigest } from './descriptors.js'
import type { Digest } from './store-types.js'
import { replaceCachedFile } from './write-whole.js'

/** A promise to a process that a snapshot's blobs stay as long as it lives. */
export interface Lease {
  readonly path: string
  readonly process: ProcessIdentity
  readonly snapshot: string
  readonly manifest: Digest
}

const maxLeaseBytes = 4096
const format = 'varve-lease'

let ownBootId: string | undefined

/** A pid and a start time count from a boot; after another boot they name nobody. */
function bootId(): string {
  ownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return ownBootId
}

/** The lease of one opened snapshot in this process. */
export function leaseToSelf(directory: string, snapshot: string, manifest: Digest): Lease {
  const self = processIdentity(process.pid)
  if (self === undefined) throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted')
  const path = join(directory, `${randomBytes(8).toString('hex')}.json`)
  return writeLease({ path, process: self, snapshot, manifest })
}

/** The one lease of another process, in place of what was leased to it before: a VM needs the parent of its next Diff. */
export function leaseToOther(
  directory: string,
  other: ProcessIdentity,
  snapshot: string,
  manifest: Digest,
): Lease {
  const path = join(directory, `process-${other.pid}-${other.startTime}.json`)
  return writeLease({ path, process: other, snapshot, manifest })
}

function writeLease(lease: Lease): Lease {
  const { path, process: holder, snapshot, manifest } = lease
  const content = {
    format,
    version: 1,
    boot: bootId(),
    process: { pid: holder.pid, startTime: holder.startTime },
    snapshot,
    manifest,
  }
  replaceCachedFile(path, Buffer.from(JSON.stringify(content)))
  return lease
}

export const endLease = ({ path }: Lease): void => removeSmallFile(path)

/** The leases of living processes. Files that are no lease of this boot, or whose process has ended, are `stale`. */
export async function readLeases(
  directory: string,
): Promise<{ readonly live: readonly Lease[]; readonly stale: readonly string[] }> {
  const live: Lease[] = []
  const stale: string[] = []
  const boot = bootId()
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    // One that is just being written; left over after a crash it says nothing and costs nothing.
    if (!name.endsWith('.json')) continue
    try {
      const fields = new Fields(path, readJsonFile(path, maxLeaseBytes))
      const holder = fields.object('process')
      const identity = {
        pid: holder.whole('pid', 1, 2 ** 31),
        startTime: holder.whole('startTime', 0, Number.MAX_SAFE_INTEGER),
      }
      const manifest = fields.raw('manifest')
      const snapshot = fields.text('snapshot', idPattern, 'an id')
      if (fields.raw('boot') === boot && isAlive(identity) && isDigest(manifest))
        live.push({ path, process: identity, snapshot, manifest })
      else stale.push(path)
    } catch (error) {
      // Ended between the listing and the reading.
      if (isVarveError(error, 'NOT_FOUND')) continue
      if (!isVarveError(error, 'FORMAT_INVALID')) throw error
      stale.push(path)
    }
  }
  return { live, stale }
}
