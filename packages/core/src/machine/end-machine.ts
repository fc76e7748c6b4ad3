import { randomBytes } from 'node:crypto'
import { renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import { removeCgroups } from '../firecracker/jail-cgroups.js'
import { removeJail } from '../firecracker/jailer.js'
import { sleepInThread } from '../sys/file-lock.js'
import { isNamedHere } from '../sys/holder.js'
import { removeSmallFile } from '../sys/mutations.js'
import { killProcess } from '../sys/pidfd.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { keepDeathNote } from './death-note.js'
import { lockMachineDirectory } from './directory-lock.js'
import { waitForRelease } from './held-machine.js'
import { killJailed } from './jailed-processes.js'
import { anythingLives, ownerLives, vmmHasEnded, vmmLives } from './machine-life.js'
import { isSameMachine, leasePaths, lookUpRecord, type MachineRecord } from './machine-record.js'
import { unrecordedVmms } from './unrecorded-vmm.js'

/**
 * How long another process may take to end the same machine: it waits for the VMM and for the page server in
 * turn.
 */
const busyTimeoutMs = 10_000

/**
 * SIGKILLs the processes that the record names, and removes the machine's files, leases and copies of disks.
 * Safe to repeat; synchronous, for exit hooks. If the directory now belongs to another machine, it is left
 * alone. `note`: keep the reason of the end, unless there is one already.
 */
export function endAndRemove(
  directory: string,
  record: MachineRecord,
  { note = false }: { readonly note?: boolean } = {},
): void {
  const lock = lockMachineDirectory(directory, busyTimeoutMs)
  if (lock.state === 'busy')
    throw new VarveError(
      'TIMEOUT',
      `another process has been ending machine ${record.id} for ${busyTimeoutMs} ms`,
      { remedy: 'find the process that has its directory open, and try again' },
    )
  if (lock.state === 'missing') {
    endProcesses(directory, record)
    removeBelongings(record)
    removeJailOf(record)
    return
  }
  try {
    const found = lookUpRecord(directory)
    const now = found.state === 'known' ? found.record : record
    if (!isSameMachine(now, record)) {
      // The machine has ended, and its name belongs to another one.
      endProcesses(directory, record)
      removeBelongings(record)
      return
    }
    if (note) keepDeathNote(dirname(dirname(directory)), directory, now)
    endLocked(directory, now)
  } finally {
    lock.release()
  }
}

/** A machine that was found dead and removed. */
export interface ReapedMachine {
  /** The machine's name. */
  readonly id: string
  /**
   * `vmm-ended`: its Firecracker process had ended. `owner-ended`: its owner ended without stopping or
   * detaching it, so its VMM was killed. `left-over`: there was only a directory, of a machine that never
   * started or without a record.
   */
  readonly cause: 'vmm-ended' | 'owner-ended' | 'left-over'
  /** In a sentence, for people; of a VMM that ended, its last words. */
  readonly reason: string
}

/**
 * Ends a machine if its VMM has ended, or its owner has ended without detaching it, and removes all that
 * belongs to it. False if the machine lives, or nothing can tell. Never waits for another process that is
 * already ending it: that machine is as good as gone. `onReaped` is called if this call ended it.
 */
export function removeIfStale(
  runtime: string,
  directory: string,
  {
    waitMs = 0,
    onReaped,
  }: { readonly waitMs?: number; readonly onReaped?: (reaped: ReapedMachine) => void } = {},
): boolean {
  if (!mayBeStale(directory)) return false
  const lock = lockMachineDirectory(directory, waitMs)
  if (lock.state !== 'held') return true
  try {
    // Judge again: another process may have ended that machine meanwhile, and a new one may have its name.
    const found = lookUpRecord(directory)
    if (!isStale(directory, found)) return false
    const reaped: ReapedMachine =
      found.state === 'known'
        ? endStale(runtime, directory, found.record)
        : removeLeftOver(directory, basename(directory))
    onReaped?.(reaped)
    return true
  } finally {
    lock.release()
  }
}

function endStale(runtime: string, directory: string, record: MachineRecord): ReapedMachine {
  const { id, owner } = record
  if (owner !== null && !ownerLives(directory, record, owner)) {
    endLocked(directory, record)
    const reason = `its owner, process ${owner.pid}, ended without stopping or detaching it`
    return { id, cause: isRecorded(record) ? 'owner-ended' : 'left-over', reason }
  }
  const reason = keepDeathNote(runtime, directory, record)
  endLocked(directory, record)
  return { id, cause: 'vmm-ended', reason }
}

function removeLeftOver(directory: string, id: string): ReapedMachine {
  for (const vmm of unrecordedVmms(directory)) killProcess(vmm, 'SIGKILL')
  removeNamed(directory)
  return { id, cause: 'left-over', reason: 'its directory had no record of a machine' }
}

const mayBeStale = (directory: string): boolean => isStale(directory, lookUpRecord(directory))

function isStale(directory: string, found: ReturnType<typeof lookUpRecord>): boolean {
  // The record may be of a later Varve, and its machine may live.
  if (found.state === 'unknown') return false
  // A directory gets its record before its name: this one is left over from an older version, or damaged.
  if (found.state === 'missing') return !anythingLives(directory)
  const { record } = found
  if (isRecorded(record) && vmmHasEnded(directory, record)) return true
  const ownerGone = record.owner !== null && !ownerLives(directory, record, record.owner)
  return ownerGone && canBeKilledHere(record)
}

/** Pids of another PID namespace name no process here, or a wrong one. */
const canBeKilledHere = (record: MachineRecord): boolean =>
  record.boot === null ||
  isNamedHere({ boot: record.boot, pidNamespace: record.pidNamespace ?? '' }) ||
  record.process === null

/** HOST_UNSUPPORTED if the record's pids have no meaning here. */
export function assertNamedHere(record: MachineRecord): void {
  if (canBeKilledHere(record)) return
  throw new VarveError(
    'HOST_UNSUPPORTED',
    `machine ${record.id} runs in another PID namespace, ${record.pidNamespace}`,
    { remedy: 'run this command in the container that the machine was started in' },
  )
}

const isRecorded = (record: MachineRecord): record is MachineRecord & { readonly process: ProcessIdentity } =>
  record.process !== null

function endLocked(directory: string, record: MachineRecord): void {
  if (isRecorded(record) && vmmLives(directory, record)) assertNamedHere(record)
  endProcesses(directory, record)
  removeBelongings(record)
  waitForRelease(directory)
  removeJailOf(record)
  removeNamed(directory)
}

/** SIGKILL takes effect within milliseconds, but a VMM with much memory needs a while to give it back. */
const endTimeoutMs = 1000

/** The VMM goes first: a guard that sees the page server end before it would report that as the cause. */
function endProcesses(directory: string, record: MachineRecord): void {
  if (!canBeKilledHere(record)) return
  if (isRecorded(record)) {
    killProcess(record.process, 'SIGKILL')
    const deadline = performance.now() + endTimeoutMs
    while (vmmLives(directory, record) && performance.now() < deadline) {
      // A process that the VMM started may have inherited its lock.
      if (record.jail !== null) killJailed(record.jail.root, spared(record))
      sleepInThread(1)
    }
  } else for (const vmm of unrecordedVmms(directory)) killProcess(vmm, 'SIGKILL')
}

/** Removes what lies elsewhere, under names that no other machine gets. */
function removeBelongings({ diskDirectory, leases }: MachineRecord): void {
  if (diskDirectory !== null) rmSync(diskDirectory, { recursive: true, force: true })
  for (const path of leasePaths(leases)) removeSmallFile(path)
}

/**
 * Children of live captures, which hold memory until that is in a store. They never run, and end with the
 * process that captures. In a cgroup of the jail they would keep that from being removed.
 */
export const spared = ({ frozen, jail }: MachineRecord): MachineRecord['frozen'] =>
  (jail?.cgroups ?? []).length === 0 ? frozen : []

function removeJailOf(record: MachineRecord): void {
  const { jail } = record
  if (jail === null) return
  const deadline = performance.now() + endTimeoutMs
  for (;;) {
    if (killJailed(jail.root, spared(record)) === 0 || performance.now() > deadline) break
    sleepInThread(1)
  }
  removeJail(jail.root)
  removeCgroups(jail.cgroups ?? [])
}

const endedPrefix = '.ended-'

/** From the rename on, the machine's name is free. The caller holds the lock on the directory. */
function removeNamed(directory: string): void {
  const aside = join(dirname(directory), `${endedPrefix}${randomBytes(8).toString('hex')}`)
  renameSync(directory, aside)
  removeAside(aside)
}

/** Removes directories that no longer have a machine; their names say so. */
export const isAside = (directory: string): boolean => basename(directory).startsWith(endedPrefix)

export function removeAside(directory: string): void {
  try {
    // A process that is just ending may still write its last words there.
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
  } catch {
    // The next listing tries again; no process uses the content.
  }
}
