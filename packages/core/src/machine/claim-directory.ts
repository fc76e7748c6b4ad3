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

/** A listing may remove a draft (`removeLeftDraft`); then it is made again. This many tries. */
const attempts = 5

/** How long to wait until the machine that had the name has ended. */
const endWaitMs = 5000

export interface ClaimedDirectory {
  readonly directory: string
  /** This process's lock as the owner of the machine. */
  readonly owner: HeldLife
}

/**
 * Makes the private directory of a new machine (0700). It gets its name once its record and its owner's lock
 * are in it, so a directory without them is left over. ALREADY_EXISTS if a live machine has the name.
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
      if (attempt === attempts || (taken && !removeIfStale(runtime, directory, { waitMs: endWaitMs })))
        throw new VarveError('ALREADY_EXISTS', `a machine named ${record.id} exists`, {
          cause: error,
          remedy: `choose another name, or stop it: varve stop ${record.id}`,
        })
    }
  }
}

export const isDraft = (directory: string): boolean => basename(directory).startsWith(draftPrefix)

/**
 * Removes the draft of a process that was killed while it made a machine. The draft is renamed first: if its
 * maker still lives and gives it its name at this moment, one of the two renames fails, and that side gives
 * up.
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
