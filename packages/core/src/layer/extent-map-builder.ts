import type { ExtentMap } from './extent-map.js'

/** Collects the runs of an extent map from page 0 on, merging neighbours that continue each other. */
export class ExtentMapBuilder {
  #counts: Uint32Array
  #sources: Int16Array
  #storedStarts: Uint32Array
  #length = 0
  #pages = 0

  constructor(expectedRuns: number) {
    const runs = Math.max(1, expectedRuns)
    this.#counts = new Uint32Array(runs)
    this.#sources = new Int16Array(runs)
    this.#storedStarts = new Uint32Array(runs)
  }

  /** The next `count` pages come from `source` (-1: zero, `storedPage` 0). */
  add(count: number, source: number, storedPage: number): void {
    if (count === 0) return
    this.#pages += count
    const last = this.#length - 1
    if (
      last >= 0 &&
      this.#sources[last] === source &&
      (source === -1 || (this.#storedStarts[last] as number) + (this.#counts[last] as number) === storedPage)
    ) {
      this.#counts[last] = (this.#counts[last] as number) + count
      return
    }
    if (this.#length === this.#counts.length) this.#grow()
    this.#counts[this.#length] = count
    this.#sources[this.#length] = source
    this.#storedStarts[this.#length++] = storedPage
  }

  #grow(): void {
    const size = this.#counts.length * 2
    const counts = this.#counts
    const sources = this.#sources
    const storedStarts = this.#storedStarts
    this.#counts = new Uint32Array(size)
    this.#sources = new Int16Array(size)
    this.#storedStarts = new Uint32Array(size)
    this.#counts.set(counts)
    this.#sources.set(sources)
    this.#storedStarts.set(storedStarts)
  }

  finish(): ExtentMap {
    const counts = this.#counts.slice(0, this.#length)
    const starts = new Uint32Array(this.#length)
    let page = 0
    for (let i = 0; i < starts.length; i++) {
      starts[i] = page
      page += counts[i] as number
    }
    return {
      pages: this.#pages,
      starts,
      counts,
      sources: this.#sources.slice(0, this.#length),
      storedStarts: this.#storedStarts.slice(0, this.#length),
    }
  }
}
