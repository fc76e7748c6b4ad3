import { readFileSync, writeFileSync } from 'node:fs'
import { isAlive, type ProcessIdentity } from '../../sys/proc.js'

/** Tells the guard of a server that leaves that its VMs have another one already, with a guard of its own. */
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
