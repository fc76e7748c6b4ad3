import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { lockDescriptor } from '../../sys/file-lock.js'
import type { ProcessIdentity } from '../../sys/proc.js'
import { pageServerRoot } from './page-server-files.js'

/** Exit status of a server that finds another one at its start (EX_TEMPFAIL of sysexits.h). */
export const anotherServes = 75

/** Makes this process the only one that serves a runtime directory, until it ends, however it does. False where another one is. */
export function lockServer(runtime: string): boolean {
  const { serverLock } = pageServerRoot(runtime)
  const fd = openSync(serverLock, 'a', 0o600)
  if (lockDescriptor(fd, serverLock)) return true
  closeSync(fd)
  return false
}

/** From the order to leave on, a server needs milliseconds, and as long as orders take that it has begun. */
const leaveTimeoutMs = 30_000

/** The same once `before` has left. TIMEOUT where it does not. */
export async function lockServerAfter(runtime: string, before: ProcessIdentity): Promise<void> {
  for (const deadline = performance.now() + leaveTimeoutMs; !lockServer(runtime); await sleep(1))
    if (performance.now() > deadline)
      throw new VarveError('TIMEOUT', `page server ${before.pid} did not leave within ${leaveTimeoutMs} ms`)
}
