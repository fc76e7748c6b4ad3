import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import { hasLabels, type Labels } from '../labels.js'
import { notFound } from '../not-found.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { assertPrivate, assertUsableRuntime, machinesDirectory, runtimeDirectory } from '../usable-runtime.js'
import { type ClaimedDirectory, claimDirectory, isDraft, removeLeftDraft } from './claim-directory.js'
import { readDeathNote } from './death-note.js'
import { isAside, type ReapedMachine, removeAside, removeIfStale } from './end-machine.js'
import { ensureLogKeeper } from './machine-logs.js'
import { type MachineRecord, readRecord } from './machine-record.js'

/** Whose machine has this directory. */
export const runtimeOf = (machineDirectory: string): string => dirname(dirname(machineDirectory))

const isMachineId = (id: string) => /^[a-z0-9][a-z0-9-]{0,31}$/.test(id)

export function assertMachineId(id: string): string {
  if (!isMachineId(id))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `machine name ${JSON.stringify(id)} is not 1–32 of a–z, 0–9 and '-'`,
    )
  return id
}

/**
 * Makes the private directory of a new machine (0700), with its record. ALREADY_EXISTS if a live machine
 * has the name.
 */
export function claimMachineDirectory(runtime: string, record: MachineRecord): ClaimedDirectory {
  const machines = machinesDirectory(runtime)
  const directory = join(machines, assertMachineId(record.id))
  try {
    mkdirSync(machines, { recursive: true, mode: 0o700 })
  } catch (error) {
    assertUsableRuntime(runtime)
    throw error
  }
  assertPrivate(runtime)
  assertPrivate(machines)
  return claimDirectory(runtime, directory, record)
}

/** Which machines to list. */
export interface ListMachinesOptions {
  /** Only machines that have all of these labels. */
  readonly labels?: Labels | undefined
}

/** A machine that lives, as the runtime directory remembers it. */
export interface RecordedMachine {
  /** The machine's own directory. */
  readonly directory: string
  /** Its record. */
  readonly record: MachineRecord & {
    /** The VMM, which was started. */
    readonly process: ProcessIdentity
  }
}

/**
 * Lists live machines by name. Ends and removes stale machines on the way, as `reapMachines` does, which also
 * says which and why. Errors: PATH_INVALID (the runtime directory).
 */
export function listMachines(
  runtime: string = runtimeDirectory(),
  { labels = {} }: ListMachinesOptions = {},
): RecordedMachine[] {
  return lookThrough(runtime).machines.filter(({ record }) => hasLabels(record.labels, labels))
}

/**
 * Ends and removes stale machines, with their disks and leases: those whose VMM has ended, and those whose
 * owner has ended without stopping or detaching them. Returns those that this call has ended; another process
 * that lists machines may have come first. Errors: PATH_INVALID (the runtime directory).
 */
export function reapMachines(runtime: string = runtimeDirectory()): ReapedMachine[] {
  return lookThrough(runtime).reaped
}

function lookThrough(runtime: string): {
  readonly machines: RecordedMachine[]
  readonly reaped: ReapedMachine[]
} {
  const directories = machinesDirectory(runtime)
  const names = namesIn(directories)
  const machines: RecordedMachine[] = []
  const reaped: ReapedMachine[] = []
  if (names === undefined) return { machines, reaped }
  // Records name processes to kill and folders to remove: only our own are to be believed.
  assertPrivate(runtime)
  assertPrivate(directories)
  for (const name of names) {
    const directory = join(directories, name)
    if (isAside(directory)) removeAside(directory)
    else if (isDraft(directory)) removeLeftDraft(directory)
    if (!isMachineId(name) || isEnded(runtime, directory, (it) => reaped.push(it))) continue
    const record = readRecord(directory)
    if (record?.process) machines.push({ directory, record: { ...record, process: record.process } })
  }
  // A log keeper that was killed must be replaced soon, not only at the next `detach()`.
  if (machines.some(({ record }) => record.owner === null)) ensureLogKeeper(runtime)
  return { machines, reaped }
}

function namesIn(machines: string): string[] | undefined {
  try {
    return readdirSync(machines).sort()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot list the machines in ${machines}: ${message}`, {
      cause,
      remedy: 'make it a directory that this user can read, or set $VARVE_RUNTIME_DIR',
    })
  }
}

/** A machine that has ended is not listed, even if this process may not remove its files. */
function isEnded(runtime: string, directory: string, onReaped: (reaped: ReapedMachine) => void): boolean {
  try {
    return removeIfStale(runtime, directory, { onReaped })
  } catch {
    return true
  }
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
