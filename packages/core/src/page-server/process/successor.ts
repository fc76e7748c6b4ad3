import { readFileSync, writeFileSync } from 'node:fs'
import { isAlive, type ProcessIdentity } from '../../sys/proc.js'

/**
 * Tells the guard of a server that leaves which process is to serve its VMs next: that one has the first turn
 * at the server's lock.
 */
export function nameSuccessor(path: string, { pid, startTime }: ProcessIdentity): void {
  writeFileSync(path, JSON.stringify({ pid, startTime }), { mode: 0o600 })
}

/** Whether the one that was named lives. */
export function hasSuccessor(path: string): boolean {
  try {
    const { pid, startTime } = JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
    return isAlive({ pid, startTime })
  } catch {
    return false
  }
}
