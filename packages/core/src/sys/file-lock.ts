import { closeSync, constants, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from './abi.js'
import { declare, errno, errnoNumber, syscallError } from './libc.js'
import { refuse } from './mutations.js'

// Safe: integers only.
const flock = declare<[number, number]>('int flock(int fd, int operation)')

/**
 * An exclusive flock(2) lock. The kernel releases it when its holder closes the file or ends, however it
 * ends. No process may remove the file while others may want the lock: they would hold different files.
 */
export interface FileLock extends AsyncDisposable {
  readonly path: string
}

const openFlags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW

/** The lock on a file (made 0600 if it is missing), or undefined if another holder has it. */
export async function tryLock(path: string): Promise<FileLock | undefined> {
  return lockOpened(
    await open(path, openFlags, 0o600).catch((error: unknown) => refuse('create', path, error)),
    path,
  )
}

/**
 * The same of a file that may be removed at any moment: it is not made again, nor is the
 * directory missed that it was in.
 */
export async function tryLockExisting(path: string): Promise<FileLock | 'missing' | undefined> {
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    },
  )
  return handle === undefined ? 'missing' : lockOpened(handle, path)
}

async function lockOpened(handle: FileHandle, path: string): Promise<FileLock | undefined> {
  try {
    if (!lockNow(handle.fd, path)) {
      await handle.close()
      return undefined
    }
  } catch (error) {
    await handle.close()
    throw error
  }
  return held(handle, path)
}

/** The lock on a file that is open already, until it is closed; false if another holder has it. */
export const lockDescriptor = (fd: number, path: string): boolean => lockNow(fd, path)

const held = (handle: FileHandle, path: string): FileLock => ({
  path,
  [Symbol.asyncDispose]: async () => {
    // At once: on a busy host a close waits for its turn in the thread pool for tens of milliseconds.
    if (handle.fd >= 0) flock(handle.fd, LOCK_UN)
    await handle.close()
  },
})

/** Takes a shared lock until the file is closed; false if a process holds the exclusive one. */
export const flockShared = (fd: number, path: string): boolean => lockNow(fd, path, LOCK_SH)

function lockNow(fd: number, path: string, kind: number = LOCK_EX): boolean {
  for (;;) {
    if (flock(fd, kind | LOCK_NB) === 0) return true
    const number = errno()
    if (number === errnoNumber.EAGAIN) return false
    if (number !== errnoNumber.EINTR) throw syscallError('flock', number, path)
  }
}

/**
 * Waits for the lock, looking every few milliseconds: flock(2) has no wait that an abort could end. If
 * the signal ends the wait: `abortError`.
 */
export async function lock(
  path: string,
  { signal, onWait }: { readonly signal?: AbortSignal | undefined; readonly onWait?: () => void } = {},
): Promise<FileLock> {
  for (let attempt = 0; ; attempt++) {
    if (signal?.aborted) throw abortError(signal, `the wait for the lock ${path}`)
    const lock = await tryLock(path)
    if (lock !== undefined) return lock
    if (attempt === 0) onWait?.()
    await sleep(Math.min(2 + attempt, 20), undefined, { signal }).catch(() => {})
  }
}

/** Others hold such a lock for some 100 µs; only a holder that was stopped (SIGSTOP) keeps it for longer. */
const shortWaitMs = 5000

/**
 * Runs work of microseconds with the lock held, waiting in this thread. TIMEOUT if another holder keeps it
 * for seconds. For synchronous changes of small files only.
 */
export function withShortLock<T>(path: string, work: () => T): T {
  const fd = openSync(path, openFlags, 0o600)
  try {
    const deadline = performance.now() + shortWaitMs
    while (!lockNow(fd, path)) {
      if (performance.now() > deadline)
        throw new VarveError('TIMEOUT', `${path} has been locked by another process for ${shortWaitMs} ms`)
      sleepInThread(1)
    }
    return work()
  } finally {
    closeSync(fd)
  }
}

/** Blocks this thread; nothing ever wakes it early. */
export function sleepInThread(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}
