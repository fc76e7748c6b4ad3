import { unlinkSync } from 'node:fs'

/**
 * Removes a name in a directory that another user may change, if it can be removed. A directory that the user
 * has put there stays: nothing depends on the name, and the directory goes with the one around it.
 */
export function dropName(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Missing, or not removable.
  }
}
