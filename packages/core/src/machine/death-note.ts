import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lastWords } from '../firecracker/last-words.js'
import { vmmPaths } from '../firecracker/vmm-paths.js'
import { readSmallFile } from '../sys/small-file.js'
import { type MachineRecord, maxRecordBytes } from './machine-record.js'

/** Why a machine is gone that nobody stopped. */
export interface DeathNote {
  readonly id: string
  /** UTC, ISO 8601: when it was found dead. */
  readonly foundAt: string
  readonly reason: string
}

const readText = (path: string) => readSmallFile(path, maxRecordBytes).toString('utf8')

/** The guard of a page server leaves this file before it kills the VM. See docs/formats/page-server-protocol.md. */
export function deathReason(directory: string): string | undefined {
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

/**
 * Keeps the reason of a dead machine beside the machines, before its directory is removed: whoever looks for it later
 * shall learn what became of it. The first note of a machine stands.
 */
export function keepDeathNote(runtime: string, directory: string, record: MachineRecord): void {
  const reason =
    deathReason(directory) ?? `Firecracker ended: ${lastWords(vmmPaths(directory, record.jail?.root))}`
  const note: DeathNote = { id: record.id, foundAt: new Date().toISOString(), reason }
  try {
    mkdirSync(notesDirectory(runtime), { recursive: true, mode: 0o700 })
    writeFileSync(notePath(runtime, record.id), JSON.stringify(note), { mode: 0o600, flag: 'wx' })
    dropOldNotes(runtime)
  } catch {
    // There already, or no space for it: that must not keep anybody from removing what is left of the machine.
  }
}

export function readDeathNote(runtime: string, id: string): DeathNote | undefined {
  try {
    const value = JSON.parse(readText(notePath(runtime, id))) as DeathNote
    return typeof value.reason === 'string' && typeof value.foundAt === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

/** A new machine of that name is not the dead one. */
export function forgetDeathNote(runtime: string, id: string): void {
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
