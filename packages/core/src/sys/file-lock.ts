import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { declare, errno, errnoNumber, syscallError } from './libc.js'

// sys/file.h
const LOCK_EX = 2
const LOCK_NB = 4

// Safe: integers only.
const flock = declare<[number, number]>('int flock(int fd, int operation)')

/** An exclusive flock(2) lock. The kernel releases it when its holder closes the file or ends, however it ends. */
export interface FileLock extends AsyncDisposable {
  readonly path: string
}

/** The lock on a file (made 0600 where it is missing), or undefined where somebody holds it. */
export async function tryLock(path: string): Promise<FileLock | undefined> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    if (!lockNow(handle, path)) {
      await handle.close()
      return undefined
    }
  } catch (error) {
    await handle.close()
    throw error
  }
  return { path, [Symbol.asyncDispose]: () => handle.close() }
}

function lockNow(handle: FileHandle, path: string): boolean {
  for (;;) {
    if (flock(handle.fd, LOCK_EX | LOCK_NB) === 0) return true
    const number = errno()
    if (number === errnoNumber.EAGAIN) return false
    if (number !== errnoNumber.EINTR) throw syscallError('flock', number, path)
  }
}

/** Waits for the lock, looking every few milliseconds: flock(2) has no wait that an abort could end. */
export async function lock(
  path: string,
  { signal, onWait }: { readonly signal?: AbortSignal | undefined; readonly onWait?: () => void } = {},
): Promise<FileLock> {
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted()
    const held = await tryLock(path)
    if (held !== undefined) return held
    if (attempt === 0) onWait?.()
    await sleep(Math.min(2 + attempt, 20), undefined, signal === undefined ? {} : { signal })
  }
}
