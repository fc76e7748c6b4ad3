import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sleepInThread } from '../sys/file-lock.js'
import { isAlive, type ProcessIdentity } from '../sys/proc.js'

const pathIn = (directory: string) => join(directory, 'held-by.json')

/**
 * Notes that a process has something of this machine open (files of its memory, its sockets) and will see by
 * itself that the machine has ended. A process that ends the machine waits for that, so that what the machine
 * used is free afterwards.
 */
export function holdMachine(directory: string, { pid, startTime }: ProcessIdentity): void {
  writeFileSync(pathIn(directory), JSON.stringify({ pid, startTime }), { mode: 0o600 })
}

/** Everything is closed again. */
export function releaseMachine(directory: string): void {
  rmSync(pathIn(directory), { force: true })
}

/**
 * Milliseconds, as a rule; one that is stopped, or reads from a file system that does
 * not answer, is not waited for.
 */
const releaseTimeoutMs = 2000

/**
 * Waits until no living process holds the machine any more. In this thread,
 * because exit hooks end machines too.
 */
export function waitForRelease(directory: string): void {
  const deadline = performance.now() + releaseTimeoutMs
  for (;;) {
    const holder = readHolder(directory)
    if (holder === undefined || !isAlive(holder) || performance.now() > deadline) return
    sleepInThread(1)
  }
}

function readHolder(directory: string): ProcessIdentity | undefined {
  try {
    const { pid, startTime } = JSON.parse(readFileSync(pathIn(directory), 'utf8')) as ProcessIdentity
    return Number.isSafeInteger(pid) && Number.isSafeInteger(startTime) ? { pid, startTime } : undefined
  } catch {
    return undefined
  }
}
