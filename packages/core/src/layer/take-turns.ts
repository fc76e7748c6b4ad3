import { setImmediate } from 'node:timers/promises'

/** 16 MiB: some milliseconds of copying or scanning. */
const pagesPerTurn = 4096

/**
 * For loops that mostly work in this thread: lets timers, signals and other work run once in `pagesPerTurn`
 * pages, however small the steps are.
 */
export function turnTaker(): (pages: number) => Promise<void> | undefined {
  let since = 0
  return (pages) => {
    since += pages
    if (since < pagesPerTurn) return undefined
    since = 0
    return setImmediate()
  }
}
