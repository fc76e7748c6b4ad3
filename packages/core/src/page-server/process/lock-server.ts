import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { lockDescriptor } from '../../sys/file-lock.js'
import { isAlive, type ProcessIdentity } from '../../sys/proc.js'
import { pageServerRoot } from '../protocol/page-server-files.js'

/** Exit status of a server that finds another server when it starts (EX_TEMPFAIL of sysexits.h). */
export const anotherServes = 75

/**
 * Makes this process the only one that serves a runtime directory, until it ends, however it
 * does. False if another one is.
 */
export function lockServer(runtime: string): boolean {
  const { serverLock } = pageServerRoot(runtime)
  const fd = openSync(serverLock, 'a', 0o600)
  if (lockDescriptor(fd, serverLock)) return true
  closeSync(fd)
  return false
}

/** From the order to leave on, a server needs milliseconds, and as long as orders take that it has begun. */
const leaveTimeoutMs = 30_000

/** A process that has ended has released its lock some milliseconds later at most. */
const releaseTimeoutMs = 1000

/**
 * The same once `before` has left; false if another process took the lock then. TIMEOUT if `before` does not
 * leave.
 */
export async function lockServerAfter(runtime: string, before: ProcessIdentity): Promise<boolean> {
  let endedAt: number | undefined
  for (const deadline = performance.now() + leaveTimeoutMs; !lockServer(runtime); await sleep(1)) {
    const now = performance.now()
    if (endedAt === undefined && !isAlive(before)) endedAt = now
    if (endedAt !== undefined && now - endedAt > releaseTimeoutMs) return false
    if (now > deadline)
      throw new VarveError('TIMEOUT', `page server ${before.pid} did not leave within ${leaveTimeoutMs} ms`)
  }
  return true
}
