import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { lastLines, lastWords } from '../firecracker/last-words.js'
import { type VmmPaths, vmmPaths } from '../firecracker/vmm-paths.js'
import { readSmallFile } from '../sys/small-file.js'
import { endedWhileHeld } from './held-note.js'
import { type MachineRecord, maxRecordBytes } from './machine-record.js'

/** Why a machine ended that was not stopped. */
interface DeathNote {
  readonly id: string
  /** As in its record: distinguishes it from another machine of that name. */
  readonly createdAt: string
  /** UTC, ISO 8601: when it was found dead. */
  readonly foundAt: string
  readonly reason: string
  /** Whether its page server or guard killed it because its pages could not come. */
  readonly killed: boolean
  /** The last lines that the guest wrote to its serial port; empty if there are none. */
  readonly console: string
}

const readText = (path: string) => readSmallFile(path, maxRecordBytes).toString('utf8')

/**
 * The guard of a page server leaves this file before it kills the VM. See
 * docs/formats/page-server-protocol.md.
 */
function deathReason(directory: string): string | undefined {
  try {
    const value = JSON.parse(readText(join(directory, 'death.json'))) as {
      reason?: unknown
      detail?: unknown
    }
    return [value.reason, value.detail].filter((part) => typeof part === 'string').join(': ')
  } catch {
    return undefined
  }
}

const notesDirectory = (runtime: string) => join(runtime, 'ended')
const notePath = (runtime: string, id: string) => join(notesDirectory(runtime), `${id}.json`)

/** Old notes are of no interest, and there is one more for each detached machine that dies. */
const maxNotes = 100

/** What is known about the end of a VMM, from its files or from the note that was kept of them. */
export interface Death {
  /** Why its page server or guard killed it; null if they did not. */
  readonly killed: string | null
  /** The last words of Firecracker, or the reason in the note. */
  readonly words: string
  /** The last lines that the guest wrote to its serial port. */
  readonly console: string
}

export function lookAtDeath(paths: VmmPaths, record: MachineRecord): Death {
  const { directory } = paths
  if (existsSync(directory))
    return {
      killed: deathReason(directory) ?? null,
      words: endedWhileHeld(directory) ?? lastWords(paths),
      console: lastLines(paths.consoleOutput),
    }
  const note = readDeathNote(dirname(dirname(directory)), record.id)
  if (note?.createdAt !== record.createdAt) return { killed: null, words: 'it left no message', console: '' }
  return { killed: note.killed ? note.reason : null, words: note.reason, console: note.console }
}

/**
 * Keeps the reason of a machine's end outside its directory, before that is removed, so that its owner and
 * any process that looks for the machine later can learn it. The first note of a machine stays. Returns the
 * reason.
 */
export function keepDeathNote(runtime: string, directory: string, record: MachineRecord): string {
  const { killed, words, console } = lookAtDeath(vmmPaths(directory, record.jail?.root), record)
  const note: DeathNote = {
    id: record.id,
    createdAt: record.createdAt,
    foundAt: new Date().toISOString(),
    reason: killed ?? `Firecracker ended: ${words}`,
    killed: killed !== null,
    console,
  }
  try {
    mkdirSync(notesDirectory(runtime), { recursive: true, mode: 0o700 })
    writeFileSync(notePath(runtime, record.id), JSON.stringify(note), { mode: 0o600, flag: 'wx' })
    dropOldNotes(runtime)
  } catch {
    // There already, or no space for it: that must not keep a caller from
    // removing what is left of the machine.
  }
  return note.reason
}

export function readDeathNote(runtime: string, id: string): DeathNote | undefined {
  try {
    const value = JSON.parse(readText(notePath(runtime, id))) as DeathNote
    return typeof value.reason === 'string' && typeof value.foundAt === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

/** Only the note of this machine, not of another one that had its name. */
export function forgetDeathNote(
  runtime: string,
  { id, createdAt }: Pick<MachineRecord, 'id' | 'createdAt'>,
): void {
  if (readDeathNote(runtime, id)?.createdAt === createdAt) dropDeathNote(runtime, id)
}

/** A new machine of that name is not the dead one. */
export function dropDeathNote(runtime: string, id: string): void {
  rmSync(notePath(runtime, id), { force: true })
}

function dropOldNotes(runtime: string): void {
  const names = readdirSync(notesDirectory(runtime))
  if (names.length <= maxNotes) return
  const aged = names
    .map((name) => join(notesDirectory(runtime), name))
    .map((path) => ({ path, time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.time - a.time)
  for (const { path } of aged.slice(maxNotes)) rmSync(path, { force: true })
}
