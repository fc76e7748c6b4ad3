import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { type FileLock, lock } from '../sys/file-lock.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { StorePaths } from './store-paths.js'

/**
 * A gc holds this lock from begin to end, so no two run at once. A reader that missed a blob takes it to wait
 * for the end of a gc.
 */
export function gcTurn(paths: StorePaths, { signal, onProgress }: WorkOptions): Promise<FileLock> {
  return lock(paths.gc, { signal, onWait: () => onProgress?.('waiting for a gc of another process') })
}

/**
 * The longest that gc works while it holds the store's lock. A capture waits for the lock while its guest
 * stands still. This is shorter than a time slice of the scheduler: a thread that has just slept rarely loses
 * its core within it.
 */
const batchMs = 2
/**
 * Longer than a waiting process sleeps between two looks at a lock (20 ms, sys/file-lock.ts), so it gets its
 * turn.
 */
const pauseMs = 25

/**
 * Calls a function for each item while it holds the store's lock, a few milliseconds at a time. Each batch
 * calls `begin` first.
 */
export async function inShortTurns<T>(
  repository: Repository,
  items: readonly T[],
  { begin, each }: { readonly begin: () => Promise<void> | void; readonly each: (item: T) => void },
  options: WorkOptions,
): Promise<void> {
  for (let next = 0; next < items.length; ) {
    if (next > 0) await sleep(pauseMs)
    throwIfAborted(options.signal, 'gc')
    await repository.locked(async () => {
      await begin()
      const until = performance.now() + batchMs
      do each(items[next++] as T)
      while (next < items.length && performance.now() < until)
    }, options)
  }
}
