import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Fields, readJsonFile } from '../content/checked-json.js'
import type { Digest } from '../content/descriptors.js'
import { idPattern, isDigest } from '../content/descriptors.js'
import { isVarveError } from '../errors.js'
import { bootId, type Holder, holderFromJson, holderLives, ownIdentity, pidNamespace } from '../sys/holder.js'
import { type HeldLife, lifeLockAt, lookAtLife } from '../sys/life-lock.js'
import { removeSmallFile } from '../sys/mutations.js'
import { replaceCachedFile, writeHeldFile } from './write-whole.js'

/**
 * A promise to a process that the blobs of a snapshot's manifest stay as long as the process lives. A process
 * can have any number: a VM has one on the snapshot that its memory comes from, and one on the snapshot that
 * its next Diff counts from.
 */
interface Lease {
  readonly path: string
  readonly snapshot: string
  readonly manifest: Digest
}

/** A lease of this process, which has the lease file locked. */
export interface OwnLease extends Lease {
  end(): void
}

const maxLeaseBytes = 16 * 1024
const format = 'varve-lease'
/** Instead of the path of another file: the holder has locked the lease file itself. */
const itself = 'this file'

/** The lease of one opened snapshot in this process. It ends with the process, if not before. */
export function leaseToSelf(directory: string, snapshot: string, manifest: Digest): OwnLease {
  const path = join(directory, `${randomBytes(8).toString('hex')}.json`)
  const holder = { boot: bootId(), pidNamespace: pidNamespace(), process: ownIdentity() }
  const held: HeldLife = writeHeldFile(path, leaseBytes(holder, itself, snapshot, manifest))
  return {
    ...{ path, snapshot, manifest },
    end: () => {
      removeSmallFile(path)
      held.release()
    },
  }
}

/**
 * A lease of another process, in a file of its own for each snapshot and manifest: none ever replaces one
 * that its holder still needs. The same lease again is the same file.
 */
export function leaseToOther(directory: string, other: Holder, snapshot: string, manifest: Digest): Lease {
  const path = join(directory, `${nameOf(other)}-${snapshot}-${manifest.slice(-12)}.json`)
  replaceCachedFile(path, leaseBytes(other, other.lock, snapshot, manifest))
  return { path, snapshot, manifest }
}

/** Equal for equal holders alone. */
function nameOf({ boot, pidNamespace: namespace, process: { pid, startTime } }: Holder): string {
  const hash = createHash('sha256').update(JSON.stringify([boot, namespace, pid, startTime]))
  return `process-${pid}-${hash.digest('hex').slice(0, 12)}`
}

function leaseBytes(
  { boot, pidNamespace: namespace, process: { pid, startTime } }: Omit<Holder, 'lock'>,
  lock: Holder['lock'] | typeof itself,
  snapshot: string,
  manifest: Digest,
): Buffer {
  const holder = { boot, pidNamespace: namespace, process: { pid, startTime }, lock }
  return Buffer.from(JSON.stringify({ format, version: 1, ...holder, snapshot, manifest }))
}

/** The leases of living processes. Files that are no lease, or whose process has ended, are `stale`. */
export async function readLeases(
  directory: string,
): Promise<{ readonly live: readonly Lease[]; readonly stale: readonly string[] }> {
  const live: Lease[] = []
  const stale: string[] = []
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    // One that is just being written; left over after a crash it says nothing and costs nothing.
    if (!name.endsWith('.json')) continue
    try {
      const value = readJsonFile(path, maxLeaseBytes)
      const fields = new Fields(path, value)
      const manifest = fields.raw('manifest')
      const snapshot = fields.text('snapshot', idPattern, 'an id')
      if (isDigest(manifest) && leaseLives(path, value)) live.push({ path, snapshot, manifest })
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

function leaseLives(path: string, value: unknown): boolean {
  const { lock, pidNamespace: namespace = pidNamespace() } = value as Record<string, unknown>
  if (lock === itself) {
    const own = lifeLockAt(path)
    // If this process may not open it, it cannot tell, so the lease counts; a missing lease has just ended.
    return own !== null && lookAtLife(own) !== 'free'
  }
  // Without a lock and a namespace the lease is of an older version, whose pids were all of one namespace.
  const holder = holderFromJson({ ...(value as object), lock, pidNamespace: namespace })
  return holder !== undefined && holderLives(holder)
}
