import { setTimeout as sleep } from 'node:timers/promises'
import type { WorkingSet } from '../working-set/working-set.js'

/** When the pages of a working set are brought: before the guest runs, or alongside it. */
export const prefetchModes = ['before', 'concurrent'] as const
/** One of `prefetchModes`. */
export type PrefetchMode = (typeof prefetchModes)[number]

/** What is to be brought ahead of the guest. */
export interface PrefetchWish {
  /** Of the image that is restored. */
  readonly workingSet: WorkingSet
  /** A file that holds it, if the store has one. */
  readonly path: string | null
  /**
   * How long the guest waits for it at most: 0 in mode `concurrent`, Infinity in
   * mode `before` without a budget.
   */
  readonly budgetMs: number
}

/** What a prefetch brought; `restoreUsage` tells how much of it was in vain. */
export interface PrefetchReport {
  /** Pages asked for, gaps that were read along included. */
  readonly pages: number
  /** In how many requests they were asked for. */
  readonly requests: number
  /** From its begin to its end, milliseconds. */
  readonly ms: number
  /** A hint that failed costs time, not the restore: why it ended early; null if it did not. */
  readonly failure: string | null
}

/** Waits for work, but not longer than that. */
export async function atMost(work: Promise<unknown>, budgetMs: number): Promise<void> {
  if (budgetMs === Number.POSITIVE_INFINITY) return void (await work)
  const timer = new AbortController()
  try {
    await Promise.race([work, sleep(budgetMs, undefined, { signal: timer.signal })])
  } finally {
    timer.abort()
  }
}
