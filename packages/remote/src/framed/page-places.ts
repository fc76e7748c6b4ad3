import { type FramedIndex, framePages, type PageRuns, type PlacedRun } from './framed-index.js'
import { inPageOrder } from './framed-index-bytes.js'

/** Finds the frame of a page, and the pages of a frame. */
export class PagePlaces {
  readonly #runs: PageRuns
  readonly #placedPages: number
  /** The first place of each run. */
  readonly #places: Uint32Array
  /** The runs by page: their first pages, ascending, and their numbers. */
  readonly #sortedPages: Uint32Array
  readonly #sortedRuns: Uint32Array

  constructor({ runs, placedPages }: Pick<FramedIndex, 'runs' | 'placedPages'>) {
    this.#runs = runs
    this.#placedPages = placedPages
    this.#places = new Uint32Array(runs.counts.length)
    for (let i = 0, place = 0; i < runs.counts.length; i++) {
      this.#places[i] = place
      place += runs.counts[i] as number
    }
    this.#sortedRuns = inPageOrder(runs.pages)
    this.#sortedPages = this.#sortedRuns.map((run) => runs.pages[run] as number)
  }

  /** The place of a page of the layer; undefined if the page is zero, and so in no frame. */
  placeOf(page: number): number | undefined {
    const at = lastAtOrBefore(this.#sortedPages, page)
    if (at < 0) return undefined
    const run = this.#sortedRuns[at] as number
    const offset = page - (this.#sortedPages[at] as number)
    return offset < (this.#runs.counts[run] as number) ? (this.#places[run] as number) + offset : undefined
  }

  /** The frame that holds a page of the layer; undefined if the page is zero. */
  frameOf(page: number): number | undefined {
    const place = this.placeOf(page)
    return place === undefined ? undefined : Math.floor(place / framePages)
  }

  /** What a page frame holds, in the order of its bytes. */
  *pagesOf(frame: number): Generator<PlacedRun> {
    const end = Math.min((frame + 1) * framePages, this.#placedPages)
    let place = frame * framePages
    for (let run = lastAtOrBefore(this.#places, place); place < end; run++) {
      const offset = place - (this.#places[run] as number)
      const count = Math.min((this.#runs.counts[run] as number) - offset, end - place)
      yield { page: (this.#runs.pages[run] as number) + offset, place, count }
      place += count
    }
  }
}

/** The last of ascending values that is not above `value`; −1 if there is none. */
function lastAtOrBefore(values: Uint32Array, value: number): number {
  let [low, high] = [0, values.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((values[middle] as number) <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}
