import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import type { HeldLife } from '../sys/life-lock.js'
import { dropDeathNote } from './death-note.js'
import { removeAside, removeIfStale } from './end-machine.js'
import { anythingLives, takeOwnership } from './machine-life.js'
import { type MachineRecord, writeRecord } from './machine-record.js'

const draftPrefix = '.new-'

/** What a listing removes (`removeLeftDraft`) is made again. */
const attempts = 5

/** How long the end of the machine that had the name is waited for. */
const endWaitMs = 5000

export interface ClaimedDirectory {
  readonly directory: string
  /** This process's lock as the owner of the machine. */
  readonly owner: HeldLife
}

/**
 * The private directory of a new machine (0700). It gets its name with its record and its owner's lock in it, so that a directory without
 * them is left over. ALREADY_EXISTS where a live machine has the name.
 */
export function claimDirectory(runtime: string, directory: string, record: MachineRecord): ClaimedDirectory {
  for (let attempt = 1; ; attempt++) {
    const draft = join(dirname(directory), `${draftPrefix}${randomBytes(8).toString('hex')}`)
    mkdirSync(draft, { mode: 0o700 })
    let owner: HeldLife | undefined
    try {
      owner = takeOwnership(draft)
      writeRecord(draft, record)
      renameSync(draft, directory)
      dropDeathNote(runtime, record.id)
      return { directory, owner }
    } catch (error) {
      owner?.release()
      removeAside(draft)
      const code = String((error as NodeJS.ErrnoException).code)
      const taken = code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR'
      if (!taken && code !== 'ENOENT') throw error
      if (attempt === attempts || (taken && !removeIfStale(runtime, directory, endWaitMs)))
        throw new VarveError('ALREADY_EXISTS', `a machine named ${record.id} exists`, {
          cause: error,
          remedy: `choose another name, or stop it: varve stop ${record.id}`,
        })
    }
  }
}

export const isDraft = (directory: string): boolean => basename(directory).startsWith(draftPrefix)

/**
 * The draft of a process that was killed while it made a machine. Renamed before it is removed: if its maker lives after all and gives it
 * its name in this moment, one of the two renames fails, and with it that side gives up.
 */
export function removeLeftDraft(directory: string): void {
  if (anythingLives(directory)) return
  const aside = join(dirname(directory), `.ended-${randomBytes(8).toString('hex')}`)
  try {
    renameSync(directory, aside)
  } catch {
    return
  }
  removeAside(aside)
}
