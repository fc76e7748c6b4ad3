import { randomBytes } from 'node:crypto'
import { renameSync, rmdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { sleepInThread } from './file-lock.js'
import { type HeldName, removalsFor } from './own-directory.js'

/** What another process can cause by a change between two steps; then the removal begins again. */
const disturbed = new Set(['ENOTEMPTY', 'EEXIST', 'ELOOP', 'ENOTDIR', 'EISDIR'])
/** At 64 levels for each, or one millisecond. */
const attempts = 1000

/**
 * Removes a directory of this process's user with all that is in it, also if other users own directories in
 * it and change them meanwhile: no link leads out of it, and no depth is too large. A missing one is fine.
 * Synchronous, for exit hooks.
 */
export function removeTree(path: string): void {
  for (let attempt = 1; ; attempt++) {
    let moved = false
    const toTheTop = ({ reached }: HeldName) => {
      renameSync(reached, join(path, `.deep-${randomBytes(8).toString('hex')}`))
      moved = true
    }
    try {
      for (const { reached, isDirectory } of removalsFor({ path, reached: path }, toTheTop))
        remove(reached, isDirectory)
      return
    } catch (error) {
      const again = disturbed.has(String((error as NodeJS.ErrnoException).code))
      if (!again || attempt === attempts) throw error
      if (!moved) sleepInThread(1)
    }
  }
}

function remove(path: string, isDirectory: boolean): void {
  try {
    if (isDirectory) rmdirSync(path)
    else unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
