import { join } from 'node:path'
import { VarveError } from '../errors.js'
import { standardErrorName } from '../firecracker/vmm-paths.js'
import { bootId, type Holder, holderLives, isNamedHere, pidNamespace } from '../sys/holder.js'
import { type HeldLife, holdLife, lifeLockAt } from '../sys/life-lock.js'
import { isAlive, type ProcessIdentity } from '../sys/proc.js'
import type { MachineRecord } from './machine-record.js'

/** In a machine's directory, and locked by the machine's owner until it ends or detaches. */
const ownerLockName = 'owner.lock'

/** Makes this process the owner of a new machine. */
export function takeOwnership(directory: string): HeldLife {
  const path = join(directory, ownerLockName)
  const held = holdLife(path)
  if (held !== undefined) return held
  throw new VarveError('ALREADY_EXISTS', `${path} is locked: another process owns this machine`)
}

/**
 * Whether anything in a directory that has no record is alive: a VMM, or a process that is making a machine
 * there.
 */
export const anythingLives = (directory: string): boolean =>
  [ownerLockName, standardErrorName].some((name) => {
    const lock = lifeLockAt(join(directory, name))
    return lock !== null && holderLives({ ...ofThisHost(), process: noProcess, lock })
  })

export const ofThisHost = () => ({ boot: bootId(), pidNamespace: pidNamespace() })

/** For judgements that only a lock may decide. */
const noProcess: ProcessIdentity = { pid: 0, startTime: 0 }

type Recorded = MachineRecord & { readonly process: ProcessIdentity }

/** The VMM as the holder of its leases and its copies of disks. */
export const vmmHolder = (directory: string, record: Recorded): Holder =>
  holderIn(directory, record, record.process, standardErrorName)

export const vmmLives = (directory: string, record: Recorded): boolean =>
  lives(directory, record, record.process, standardErrorName)

/**
 * Whether the VMM has ended, or is certain to end. If pids have the same meaning here, a VMM whose first
 * thread has ended counts as ended, although its other threads still keep the lock.
 */
export const vmmHasEnded = (directory: string, record: Recorded): boolean =>
  !vmmLives(directory, record) || (isNamedHere(vmmHolder(directory, record)) && !isAlive(record.process))

export const ownerLives = (directory: string, record: MachineRecord, owner: ProcessIdentity): boolean =>
  lives(directory, record, owner, ownerLockName)

function lives(
  directory: string,
  record: MachineRecord,
  process: ProcessIdentity,
  lockName: string,
): boolean {
  return record.boot === null ? isAlive(process) : holderLives(holderIn(directory, record, process, lockName))
}

function holderIn(
  directory: string,
  { boot, pidNamespace: namespace }: MachineRecord,
  process: ProcessIdentity,
  lockName: string,
): Holder {
  const here = ofThisHost()
  return {
    boot: boot ?? here.boot,
    pidNamespace: namespace ?? here.pidNamespace,
    process,
    // An older version locked nothing; its file would count as free.
    lock: boot === null ? null : lifeLockAt(join(directory, lockName)),
  }
}
