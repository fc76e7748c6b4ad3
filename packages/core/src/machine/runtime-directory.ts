import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { killProcess } from '../sys/pidfd.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../sys/proc.js'

/**
 * One VM as the runtime directory remembers it, so that later commands find it again. A pid alone is not an identity:
 * every process is named by pid and start time.
 */
export interface MachineRecord {
  readonly format: 'varve-machine'
  readonly version: 1
  readonly id: string
  readonly createdAt: string
  /** The VMM; null between the making of the directory and the start of the process. */
  readonly process: ProcessIdentity | null
  /** The process that must outlive the VM; null once the VM was detached and lives on its own. */
  readonly owner: ProcessIdentity | null
  /** Processes that serve this VM and end with it (page server, guard). */
  readonly helpers: readonly (ProcessIdentity & { readonly role: string })[]
  readonly firecrackerVersion: string
  readonly dirtyTracking: boolean
  /** Host path of the vsock Unix socket, where the guest has the device. */
  readonly vsockPath: string | null
  readonly jail: { readonly root: string; readonly uid: number; readonly gid: number } | null
  /** Directory with this VM's private copies of disks, where they are kept elsewhere; goes with the machine. */
  readonly diskDirectory: string | null
  /**
   * The snapshot that the log of written pages counts from: restored from it, or taken last. Null where that is not
   * known, and then no Diff can be a child of anything.
   */
  readonly snapshotId: string | null
  /** Snapshots that Firecracker has written of this VM. */
  readonly snapshotsTaken: number
  /** Whether the guest may have run since the last snapshot or load. */
  readonly ranSince: boolean
  readonly origin: { readonly kind: 'boot' | 'load'; readonly from: string }
}

/** $VARVE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/varve, else /run/varve for root, else varve-UID in the temporary folder. */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_RUNTIME_DIR) return env.VARVE_RUNTIME_DIR
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'varve')
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '/run/varve' : join(tmpdir(), `varve-${uid}`)
}

const machinesDirectory = (runtime: string) => join(runtime, 'machines')
const recordPath = (directory: string) => join(directory, 'machine.json')

export function assertMachineId(id: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(id))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `machine name ${JSON.stringify(id)} is not 1–32 of a–z, 0–9 and '-'`,
    )
  return id
}

/** Makes the private directory of a new machine (0700). ALREADY_EXISTS where a live machine has the name. */
export function claimMachineDirectory(runtime: string, id: string): string {
  const machines = machinesDirectory(runtime)
  mkdirSync(machines, { recursive: true, mode: 0o700 })
  assertPrivate(runtime)
  assertPrivate(machines)
  const directory = join(machines, assertMachineId(id))
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(directory, { mode: 0o700 })
      return directory
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      if (attempt > 0 || !removeIfStale(directory))
        throw new VarveError('ALREADY_EXISTS', `a machine named ${id} exists`, {
          remedy: `choose another name, or stop it: varve stop ${id}`,
        })
    }
  }
}

/** In a shared temporary folder somebody else could have made our directory first: only a private one of ours will do. */
function assertPrivate(directory: string): void {
  const stat = lstatSync(directory)
  const uid = process.getuid?.()
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0)
    throw new VarveError('PATH_INVALID', `${directory} is not a directory of uid ${uid} with mode 0700`, {
      remedy: `remove it, chmod 700 it, or set $VARVE_RUNTIME_DIR`,
    })
}

export function writeRecord(directory: string, record: MachineRecord): void {
  const temporary = `${recordPath(directory)}.${process.pid}`
  writeFileSync(temporary, JSON.stringify(record, null, 2), { mode: 0o600 })
  renameSync(temporary, recordPath(directory))
}

/** The record of one machine directory; undefined where it is missing, half-made or not ours to read. */
export function readRecord(directory: string): MachineRecord | undefined {
  let text: string
  try {
    if (statSync(recordPath(directory)).size > maxRecordBytes) return undefined
    text = readFileSync(recordPath(directory), 'utf8')
  } catch {
    return undefined
  }
  try {
    const value = JSON.parse(text) as MachineRecord
    return value.format === 'varve-machine' && value.version === 1 && isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

const maxRecordBytes = 64 * 1024

function isRecord(value: MachineRecord): boolean {
  const identity = (it: ProcessIdentity | null) =>
    it === null || (Number.isSafeInteger(it.pid) && it.pid > 1 && Number.isSafeInteger(it.startTime))
  // Both are removed with all that is in them.
  const folder = (it: unknown) =>
    it === null || (typeof it === 'string' && isAbsolute(it) && dirname(it) !== '/')
  return (
    typeof value.id === 'string' &&
    folder(value.jail?.root ?? null) &&
    folder(value.diskDirectory ?? null) &&
    identity(value.process) &&
    identity(value.owner) &&
    Array.isArray(value.helpers) &&
    value.helpers.every((helper) => helper !== null && identity(helper))
  )
}

export interface RecordedMachine {
  readonly directory: string
  readonly record: MachineRecord & { readonly process: ProcessIdentity }
}

/** Live machines by name. Stale ones (VMM gone, or owner gone without detaching) are ended and removed on the way. */
export function listMachines(runtime: string = runtimeDirectory()): RecordedMachine[] {
  let names: string[]
  try {
    names = readdirSync(machinesDirectory(runtime)).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  // Records name processes to kill and folders to remove: only our own are to be believed.
  assertPrivate(runtime)
  assertPrivate(machinesDirectory(runtime))
  const found: RecordedMachine[] = []
  for (const name of names) {
    const directory = join(machinesDirectory(runtime), name)
    if (removeIfStale(directory)) continue
    const record = readRecord(directory)
    if (record?.process) found.push({ directory, record: { ...record, process: record.process } })
  }
  return found
}

export function findMachine(id: string, runtime: string = runtimeDirectory()): RecordedMachine {
  const found = listMachines(runtime).find(({ record }) => record.id === id)
  if (!found)
    throw new VarveError('NOT_FOUND', `no machine named ${id}`, { remedy: 'list machines: varve ps' })
  return found
}

/** A directory whose record never came must be this old before it counts as left over from a crash. */
const unrecordedGraceMs = 60_000

function removeIfStale(directory: string): boolean {
  const record = readRecord(directory)
  if (record === undefined) {
    const age = Date.now() - (statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0)
    if (age < unrecordedGraceMs) return false
  } else {
    const ownerGone = record.owner !== null && !isAlive(record.owner)
    const vmmGone = record.process !== null && !isAlive(record.process)
    // An owner that lives cleans up by itself, and may still want to read the logs.
    if (!ownerGone && !(vmmGone && record.owner === null)) return false
  }
  endAndRemove(directory, record)
  return true
}

/** SIGKILLs what the record names and removes the machine's files. Safe to repeat; synchronous, for exit hooks. */
export function endAndRemove(directory: string, record: MachineRecord | undefined): void {
  for (const process of [record?.process, ...(record?.helpers ?? [])])
    if (process) {
      try {
        killProcess(process, 'SIGKILL')
      } catch (error) {
        if (!isVarveError(error, 'NOT_FOUND')) throw error
      }
    }
  // The jail's own folder is <base>/<binary>/<id>, one above the root.
  if (record?.jail) rmSync(dirname(record.jail.root), { recursive: true, force: true })
  if (record?.diskDirectory) rmSync(record.diskDirectory, { recursive: true, force: true })
  // A process that is just ending may still write its last words there.
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
}

export function ownIdentity(): ProcessIdentity {
  const identity = processIdentity(process.pid)
  if (!identity)
    throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted', { remedy: 'mount -t proc proc /proc' })
  return identity
}
