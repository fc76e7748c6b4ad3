import type { PageSet } from './page-set.js'

/**
 * Collects runs in ascending order of their start into a PageSet; overlapping and touching runs become one.
 */
export class RunBuilder {
  #starts: Uint32Array
  #counts: Uint32Array
  #length = 0
  #end = -1
  #pages = 0

  /** `expectedRuns` saves growing if an upper bound is known. */
  constructor(expectedRuns = 16) {
    this.#starts = new Uint32Array(expectedRuns)
    this.#counts = new Uint32Array(expectedRuns)
  }

  /** `start` must not be below the start of any run added before. */
  add(start: number, count: number): void {
    if (count === 0) return
    const end = start + count
    if (start <= this.#end) {
      if (end <= this.#end) return
      this.#pages += end - this.#end
      this.#counts[this.#length - 1] = end - (this.#starts[this.#length - 1] as number)
    } else {
      if (this.#length === this.#starts.length) this.#grow()
      this.#starts[this.#length] = start
      this.#counts[this.#length++] = count
      this.#pages += count
    }
    this.#end = end
  }

  #grow(): void {
    const size = Math.max(16, this.#starts.length * 2)
    const starts = new Uint32Array(size)
    const counts = new Uint32Array(size)
    starts.set(this.#starts)
    counts.set(this.#counts)
    this.#starts = starts
    this.#counts = counts
  }

  /** The set. The builder is spent. */
  finish(): PageSet {
    const exact = this.#length === this.#starts.length
    return {
      starts: exact ? this.#starts : this.#starts.slice(0, this.#length),
      counts: exact ? this.#counts : this.#counts.slice(0, this.#length),
      pages: this.#pages,
    }
  }
}
