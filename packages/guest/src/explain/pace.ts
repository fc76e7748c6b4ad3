import { setImmediate } from 'node:timers/promises'
import { throwIfAborted } from 'varve'

/** Steps of some nanoseconds each: together about 10 ms. */
export const stepsAtOnce = 2 ** 20

/** Lets timers and signals have their turn in a computation whose length a guest can choose. */
export class Pace {
  readonly #signal: AbortSignal | undefined
  #steps = 0

  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** Counts steps. True if `rest` is to be awaited now. */
  isDue(steps: number): boolean {
    this.#steps += steps
    return this.#steps >= stepsAtOnce
  }

  /** Calls `work` for parts of a range, with rests. Each number of the range counts as one step. */
  async forRange(end: number, work: (from: number, to: number) => void): Promise<void> {
    for (let from = 0; from < end; ) {
      const to = Math.min(end, from + stepsAtOnce - this.#steps)
      work(from, to)
      if (this.isDue(to - from)) await this.rest()
      from = to
    }
  }

  /** Errors: INTERRUPTED if the signal has come. */
  async rest(): Promise<void> {
    this.#steps = 0
    await setImmediate()
    throwIfAborted(this.#signal, 'explaining pages')
  }
}
