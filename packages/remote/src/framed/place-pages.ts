import { VarveError } from 'varve'
import { dataPages, type Layer, type LayerIndex, type PackOrder, storedRuns } from 'varve/layers'
import { intersect, minus, type PageSet } from 'varve/working-sets'
import { maxPageRuns, maxPlacedPages, type PageRuns } from './framed-index.js'

/** Where a writer puts the pages of a layer. */
export interface PagePlan {
  readonly runs: PageRuns
  readonly placedPages: number
  readonly hotPages: number
}

/**
 * The hot sets first (sets of image pages; what is no data in this layer is left out), within a set in the
 * order of the image; then the rest in the order of the layer's file. FORMAT_UNSUPPORTED above the format's
 * limits.
 */
export function placePages({ path, index }: Pick<Layer, 'path' | 'index'>, hot: PackOrder = []): PagePlan {
  const runs = new RunList()
  let cold = dataPages(index)
  for (const set of hot) {
    const wanted = intersect(set, cold)
    cold = minus(cold, wanted)
    for (const { page, count } of storedPieces(index, wanted)) runs.add(page, count)
  }
  const hotPages = runs.places
  runs.split()
  const rest = hotPages === 0 ? wholeRuns(index) : storedPieces(index, cold)
  for (const { page, count } of rest.sort((a, b) => a.page - b.page)) runs.add(page, count)
  const plan = { runs: runs.finish(), placedPages: runs.places, hotPages }
  if (plan.placedPages > maxPlacedPages || plan.runs.pages.length > maxPageRuns)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `layer ${path} has ${plan.placedPages} data pages in ${plan.runs.pages.length} runs; a framed layer holds ${maxPlacedPages} in ${maxPageRuns}`,
      { details: { path } },
    )
  return plan
}

interface Piece {
  /** In the layer's file. */
  readonly page: number
  readonly count: number
}

const wholeRuns = (index: LayerIndex): Piece[] =>
  storedRuns(index).map(({ storedPage, count }) => ({ page: storedPage, count }))

/** Where the pages of a set of data pages are in the layer's file. One walk over the runs of both. */
function storedPieces({ starts, counts, storedStarts }: LayerIndex, set: PageSet): Piece[] {
  const pieces: Piece[] = []
  let run = 0
  for (let i = 0; i < set.starts.length; i++) {
    const end = (set.starts[i] as number) + (set.counts[i] as number)
    for (let page = set.starts[i] as number; page < end; ) {
      while ((starts[run] as number) + (counts[run] as number) <= page) run++
      const offset = page - (starts[run] as number)
      const count = Math.min(end - page, (counts[run] as number) - offset)
      pieces.push({ page: (storedStarts[run] as number) + offset, count })
      page += count
    }
  }
  return pieces
}

/** Runs in the order of places; those that continue each other become one, but not over a split. */
class RunList {
  readonly #pages: number[] = []
  readonly #counts: number[] = []
  #mayContinue = false
  places = 0

  add(page: number, count: number): void {
    const last = this.#pages.length - 1
    const end = (this.#pages[last] ?? 0) + (this.#counts[last] ?? 0)
    if (this.#mayContinue && end === page) this.#counts[last] = (this.#counts[last] as number) + count
    else {
      this.#pages.push(page)
      this.#counts.push(count)
    }
    this.#mayContinue = true
    this.places += count
  }

  split(): void {
    this.#mayContinue = false
  }

  finish(): PageRuns {
    return { pages: Uint32Array.from(this.#pages), counts: Uint32Array.from(this.#counts) }
  }
}
