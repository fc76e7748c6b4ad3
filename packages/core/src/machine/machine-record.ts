import { renameSync, writeFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { type GuestAgentPlace, isGuestAgentPlace } from '../guest-agent-place.js'
import { type Labels, labelsProblem } from '../labels.js'
import { withShortLock } from '../sys/file-lock.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { readSmallFile } from '../sys/small-file.js'

/**
 * One VM as the runtime directory remembers it, so that later commands find it again. A pid alone is not an
 * identity: every process is named by pid and start time.
 */
export interface MachineRecord {
  /** What the file is. */
  readonly format: 'varve-machine'
  /** The version of the format. */
  readonly version: 1
  /** The machine's name. */
  readonly id: string
  /** When it was launched: UTC, ISO 8601 with milliseconds. */
  readonly createdAt: string
  /**
   * The boot and the PID namespace of the pids in this record (`Holder`). Null in a record of an older
   * version, which locked nothing: then only pids and start times decide whether its processes live.
   */
  readonly boot: string | null
  /** The PID namespace, as /proc/self/ns/pid names it. */
  readonly pidNamespace: string | null
  /** The VMM; null between the making of the directory and the start of the process. */
  readonly process: ProcessIdentity | null
  /** The process that must outlive the VM; null once the VM was detached and lives on its own. */
  readonly owner: ProcessIdentity | null
  /** The release of its VMM, e.g. "1.12.1". */
  readonly firecrackerVersion: string
  /** Whether written pages are logged, which Diffs need. */
  readonly dirtyTracking: boolean
  /** Host path of the vsock Unix socket, if the guest has the device. */
  readonly vsockPath: string | null
  /** Where the guest has an agent, if it has one. */
  readonly guestAgent: GuestAgentPlace | null
  /** The jail of its VMM; null if it has none. */
  readonly jail: {
    /** Host path of the jail's root. */
    readonly root: string
    /** User that the VMM runs as. */
    readonly uid: number
    /** Group that the VMM runs as. */
    readonly gid: number
    /** Directories of the cgroups that the jailer made. */
    readonly cgroups?: readonly string[]
  } | null
  /** Directory with this VM's private copies of disks, if they are kept elsewhere; goes with the machine. */
  readonly diskDirectory: string | null
  /** Leases of the VM in a snapshot store; they end with the machine. */
  readonly leases: MachineLeases
  /**
   * The snapshot that the log of written pages counts from: restored from it, or taken last. Null if that is
   * not known, and then no Diff can be a child of anything.
   */
  readonly snapshotId: string | null
  /**
   * Set if pages that the guest has written are in no log any more, but in the file `owed-pages` of the
   * machine's directory: a live capture has read KVM's log, and its snapshot is not in a store (yet). They
   * belong to the next Diff, which counts from this snapshot (null: from the boot). `snapshotId` is null
   * meanwhile.
   */
  readonly owed: {
    /** The id of that snapshot; null: the boot. */
    readonly from: string | null
  } | null
  /** Children of live captures that hold memory of this VM; some of them may have ended. */
  readonly frozen: readonly ProcessIdentity[]
  /** Snapshots that Firecracker has written of this VM. */
  readonly snapshotsTaken: number
  /** Whether the guest may have run since the last snapshot or load. */
  readonly ranSince: boolean
  /** Loaded from a snapshot, and paused since: the guest has not run under this name. */
  readonly pausedSinceLoad: boolean
  /** How its guest came to be. */
  readonly origin: {
    /** Whether the guest was booted or loaded from a snapshot. */
    readonly kind: 'boot' | 'load'
    /** The kernel, or the state file; empty before either. */
    readonly from: string
  }
  /** What its maker noted about it. */
  readonly labels: Labels
}

/** Paths of lease files. The two can be the same file. */
export interface MachineLeases {
  /**
   * On the snapshot that the VM's memory comes from. Null if it comes from none, or not from there any more.
   */
  readonly memory: string | null
  /** On the snapshot that the log of written pages counts from, which the next Diff builds on. */
  readonly log: string | null
}

export const noLeases: MachineLeases = { memory: null, log: null }

export const leasePaths = ({ memory, log }: MachineLeases): readonly string[] => [
  ...new Set([memory, log].filter((path) => path !== null)),
]

/** What lies in a machine's own directory is a page long at most. */
export const maxRecordBytes = 64 * 1024

const recordPath = (directory: string) => join(directory, 'machine.json')

export function writeRecord(directory: string, record: MachineRecord): void {
  const temporary = `${recordPath(directory)}.${process.pid}`
  writeFileSync(temporary, JSON.stringify(record, null, 2), { mode: 0o600 })
  renameSync(temporary, recordPath(directory))
}

/** Whether two records are of one machine: a name can be given again when its machine has ended. */
export function isSameMachine(a: MachineRecord, b: MachineRecord): boolean {
  const other = (p: ProcessIdentity | null, q: ProcessIdentity | null) =>
    p !== null && q !== null && (p.pid !== q.pid || p.startTime !== q.startTime)
  return a.id === b.id && a.createdAt === b.createdAt && !other(a.process, b.process)
}

/** The record of this machine as it is on disk now; undefined if that has ended, or another has its name. */
export function currentRecord(directory: string, known: MachineRecord): MachineRecord | undefined {
  const now = readRecord(directory)
  return now !== undefined && isSameMachine(now, known) ? now : undefined
}

/**
 * Changes the record as it is on disk now: several processes may have handles of one machine, and what one
 * of them wrote must not be lost under another's change. Gives the record as it is then; nothing is
 * written if the machine has ended.
 */
export function changeRecord(
  directory: string,
  known: MachineRecord,
  change: (now: MachineRecord) => Partial<MachineRecord>,
): MachineRecord {
  try {
    return withShortLock(join(directory, 'machine.json.lock'), () => {
      const now = currentRecord(directory, known)
      if (now === undefined) return { ...known, ...change(known) }
      const next = { ...now, ...change(now) }
      writeRecord(directory, next)
      return next
    })
  } catch (error) {
    // Its directory is gone.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { ...known, ...change(known) }
    throw error
  }
}

/** `unknown`: there is one, but of another version, damaged, or not ours to read. */
type RecordLookup =
  | { readonly state: 'known'; readonly record: MachineRecord }
  | { readonly state: 'missing' }
  | { readonly state: 'unknown' }

export function lookUpRecord(directory: string): RecordLookup {
  let text: string
  try {
    text = readSmallFile(recordPath(directory), maxRecordBytes).toString('utf8')
  } catch (error) {
    const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code
    return { state: code === 'ENOENT' || code === 'ENOTDIR' ? 'missing' : 'unknown' }
  }
  try {
    const value = JSON.parse(text) as MachineRecord
    if (value.format === 'varve-machine' && value.version === 1 && isRecord(value))
      return { state: 'known', record: withDefaults(value) }
  } catch {
    // Not JSON: unknown.
  }
  return { state: 'unknown' }
}

export function readRecord(directory: string): MachineRecord | undefined {
  const found = lookUpRecord(directory)
  return found.state === 'known' ? found.record : undefined
}

/** Fields that came later. */
const withDefaults = (value: MachineRecord): MachineRecord => ({
  ...value,
  boot: value.boot ?? null,
  pidNamespace: value.pidNamespace ?? null,
  diskDirectory: value.diskDirectory ?? null,
  leases: { memory: value.leases?.memory ?? null, log: value.leases?.log ?? null },
  owed: value.owed ?? null,
  frozen: value.frozen ?? [],
  guestAgent: value.guestAgent ?? null,
  pausedSinceLoad: value.pausedSinceLoad ?? false,
  labels: value.labels ?? {},
})

function isRecord(value: MachineRecord): boolean {
  const identity = (it: ProcessIdentity | null, least = 2) =>
    it === null || (Number.isSafeInteger(it.pid) && it.pid >= least && Number.isSafeInteger(it.startTime))
  // What is named here is removed with all that is in it.
  const folder = (it: unknown) =>
    it === null || (typeof it === 'string' && isAbsolute(it) && dirname(it) !== '/')
  const text = (it: unknown) => it === null || typeof it === 'string'
  const lease = (it: unknown) => folder(it) && (it === null || `${it}`.endsWith('.json'))
  return (
    typeof value.id === 'string' &&
    folder(value.jail?.root ?? null) &&
    folder(value.diskDirectory ?? null) &&
    lease(value.leases?.memory ?? null) &&
    lease(value.leases?.log ?? null) &&
    text(value.boot ?? null) &&
    text(value.pidNamespace ?? null) &&
    text(value.owed?.from ?? null) &&
    Array.isArray(value.frozen ?? []) &&
    (value.frozen ?? []).every((it) => identity(it)) &&
    ((value.guestAgent ?? null) === null || isGuestAgentPlace(value.guestAgent)) &&
    labelsProblem(value.labels ?? {}) === undefined &&
    (value.jail?.cgroups ?? []).every(folder) &&
    identity(value.process) &&
    // Never signalled; in a container it can be the first process.
    identity(value.owner, 1)
  )
}
