import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { removeCgroups } from '../firecracker/jail-cgroups.js'
import { removeJail } from '../firecracker/jailer.js'
import { notFound } from '../not-found.js'
import { sleepInThread } from '../sys/file-lock.js'
import { killProcess } from '../sys/pidfd.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { forgetDeathNote, keepDeathNote, readDeathNote } from './death-note.js'
import { waitForRelease } from './held-machine.js'
import { isSameMachine, lookUpRecord, type MachineRecord, readRecord } from './machine-record.js'
import { unrecordedVmms } from './unrecorded-vmm.js'

/** $VARVE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/varve, else /run/varve for root, else varve-UID in the temporary folder. */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_RUNTIME_DIR) return env.VARVE_RUNTIME_DIR
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'varve')
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '/run/varve' : join(tmpdir(), `varve-${uid}`)
}

/** Whose machine has this directory. */
export const runtimeOf = (machineDirectory: string): string => dirname(dirname(machineDirectory))

const machinesDirectory = (runtime: string) => join(runtime, 'machines')

const isMachineId = (id: string) => /^[a-z0-9][a-z0-9-]{0,31}$/.test(id)

export function assertMachineId(id: string): string {
  if (!isMachineId(id))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `machine name ${JSON.stringify(id)} is not 1–32 of a–z, 0–9 and '-'`,
    )
  return id
}

/** Makes the private directory of a new machine (0700). ALREADY_EXISTS where a live machine has the name. */
export function claimMachineDirectory(runtime: string, id: string): string {
  const machines = machinesDirectory(runtime)
  const directory = join(machines, assertMachineId(id))
  try {
    mkdirSync(machines, { recursive: true, mode: 0o700 })
  } catch (error) {
    assertUsableRuntime(runtime)
    throw error
  }
  assertPrivate(runtime)
  assertPrivate(machines)
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(directory, { mode: 0o700 })
      forgetDeathNote(runtime, id)
      return directory
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      if (attempt > 0 || !removeIfStale(runtime, directory))
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

/**
 * What a launch would refuse of a runtime directory, without making anything: PATH_INVALID if it is not private, or could not
 * be made.
 */
export function assertUsableRuntime(runtime: string): void {
  for (const directory of [runtime, machinesDirectory(runtime)]) {
    if (existsSync(directory)) assertPrivate(directory)
    else assertCreatable(directory)
  }
}

function assertCreatable(directory: string): void {
  let above = dirname(resolve(directory))
  while (!existsSync(above)) above = dirname(above)
  try {
    accessSync(above, constants.W_OK | constants.X_OK)
    if (statSync(above).isDirectory()) return
  } catch {}
  throw new VarveError(
    'PATH_INVALID',
    `${directory} cannot be made: ${above} is no directory that you may write to`,
    {
      remedy: 'set $VARVE_RUNTIME_DIR to a directory of your own',
    },
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
    if (removeIfStale(runtime, directory)) continue
    const record = readRecord(directory)
    if (record?.process) found.push({ directory, record: { ...record, process: record.process } })
  }
  return found
}

/** NOT_FOUND says what became of a machine that was found dead lately. */
export function findMachine(id: string, runtime: string = runtimeDirectory()): RecordedMachine {
  const found = listMachines(runtime).find(({ record }) => record.id === id)
  if (found) return found
  const note = isMachineId(id) ? readDeathNote(runtime, id) : undefined
  if (note !== undefined)
    throw notFound('machine', `machine ${id} has ended: ${note.reason}`, {
      remedy: 'boot or restore it again',
      details: { ...note },
    })
  throw notFound('machine', `no machine named ${id}`, { remedy: 'list machines: varve ps' })
}

/** A directory whose record never came must be this old before it counts as left over from a crash. */
const unrecordedGraceMs = 60_000

function removeIfStale(runtime: string, directory: string): boolean {
  const found = lookUpRecord(directory)
  // It may be of a later Varve, and its machine may live.
  if (found.state === 'unknown') return false
  if (found.state === 'missing') {
    const age = Date.now() - (statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0)
    if (age < unrecordedGraceMs) return false
    endAndRemove(directory, undefined)
    return true
  }
  const { record } = found
  const ownerGone = record.owner !== null && !isAlive(record.owner)
  const vmmGone = record.process !== null && !isAlive(record.process)
  // An owner that lives cleans up by itself, and may still want to read the logs.
  if (!ownerGone && !(vmmGone && record.owner === null)) return false
  if (!ownerGone) keepDeathNote(runtime, directory, record)
  endAndRemove(directory, record)
  return true
}

/** SIGKILL takes effect within milliseconds, but a VMM with much memory needs a while to give it back. */
const endTimeoutMs = 1000

/**
 * SIGKILLs what the record names and removes the machine's files. Safe to repeat; synchronous, for exit hooks. The VMM
 * goes first: a guard that sees the page server end before it would report that as the cause.
 */
export function endAndRemove(directory: string, record: MachineRecord | undefined): void {
  if (record?.process) {
    killProcess(record.process, 'SIGKILL')
    const deadline = performance.now() + endTimeoutMs
    while (isAlive(record.process) && performance.now() < deadline) sleepInThread(1)
  } else for (const vmm of unrecordedVmms(directory)) killProcess(vmm, 'SIGKILL')
  for (const helper of record?.helpers ?? []) killProcess(helper, 'SIGKILL')
  if (record?.diskDirectory) rmSync(record.diskDirectory, { recursive: true, force: true })
  // Somebody else may have found this machine dead, removed it, and given its name to another.
  const now = readRecord(directory)
  if (record !== undefined && now !== undefined && !isSameMachine(now, record)) return
  waitForRelease(directory)
  if (record?.jail) {
    removeJail(record.jail.root)
    removeCgroups(record.jail.cgroups ?? [])
  }
  // A process that is just ending may still write its last words there.
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
}

export function ownIdentity(): ProcessIdentity {
  const identity = processIdentity(process.pid)
  if (!identity)
    throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted', { remedy: 'mount -t proc proc /proc' })
  return identity
}
