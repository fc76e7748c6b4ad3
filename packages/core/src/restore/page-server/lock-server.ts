import { closeSync, openSync } from 'node:fs'
import { lockDescriptor } from '../../sys/file-lock.js'
import { pageServerRoot } from './page-server-files.js'

/** Makes this process the only one that serves a runtime directory, until it ends, however it does. False where another one is. */
export function lockServer(runtime: string): boolean {
  const { serverLock } = pageServerRoot(runtime)
  const fd = openSync(serverLock, 'a', 0o600)
  if (lockDescriptor(fd, serverLock)) return true
  closeSync(fd)
  return false
}
