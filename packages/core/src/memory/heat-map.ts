import { VarveError } from '../errors.js'
import { type PageClass, type PageClasses, pageClasses } from './classes.js'
import type { PageSet } from './page-set.js'

/** 1024 × 1024 cells: page number (< 2^32) times cells stays below 2^53, so the arithmetic below is exact. */
const maxCells = 2 ** 20

/** Cells of a map. */
export interface GridSize {
  /** Cells in a row. */
  readonly columns: number
  /** Rows of cells. */
  readonly rows: number
}

/**
 * An image of `pages` pages, row by row, as columns × rows cells. Cell i (row by row) covers the pages from
 * floor(i × pages / cells) up to where the next cell begins: cells differ by at most one page, and with fewer
 * pages than cells some cells are empty.
 */
export interface HeatMap extends GridSize {
  /** Pages of the image. */
  readonly pages: number
  /** Per class, how many of its pages lie in each cell. */
  readonly counts: Readonly<Record<PageClass, Uint32Array>>
}

/** Counts the pages of each class in each cell of a map of `size`. */
export function heatMap(classes: PageClasses, size: GridSize): HeatMap {
  const count = (name: PageClass) => cellCounts(classes.sets[name], classes.pages, size)
  return {
    columns: size.columns,
    rows: size.rows,
    pages: classes.pages,
    counts: {
      zero: count('zero'),
      cold: count('cold'),
      'read-only': count('read-only'),
      written: count('written'),
    },
  }
}

/** How many pages of `set` lie in each cell of an image of `pages` pages. */
export function cellCounts(set: PageSet, pages: number, { columns, rows }: GridSize): Uint32Array {
  const cells = columns * rows
  if (!Number.isInteger(columns) || !Number.isInteger(rows) || columns < 1 || rows < 1 || cells > maxCells)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `a heat map of ${columns} × ${rows} cells is not within 1 to 2^20`,
    )
  const counts = new Uint32Array(cells)
  for (let i = 0; i < set.starts.length; i++) {
    let page = set.starts[i] as number
    const end = Math.min(page + (set.counts[i] as number), pages)
    while (page < end) {
      const cell = cellOfPage(page, pages, cells)
      const cellEnd = Math.min(end, Math.floor(((cell + 1) * pages) / cells))
      counts[cell] = (counts[cell] as number) + cellEnd - page
      page = cellEnd
    }
  }
  return counts
}

/** The cell i with floor(i × pages / cells) <= page < floor((i + 1) × pages / cells). */
function cellOfPage(page: number, pages: number, cells: number): number {
  return Math.floor(((page + 1) * cells - 1) / pages)
}

/**
 * The class that a cell is drawn in: the one with the highest share, working-set classes
 * before cold and zero on a tie.
 */
export function dominantClass(map: HeatMap, cell: number): PageClass | undefined {
  let best: PageClass | undefined
  let bestCount = 0
  for (const name of [...pageClasses].reverse()) {
    const count = map.counts[name][cell] ?? 0
    if (count > bestCount) {
      best = name
      bestCount = count
    }
  }
  return best
}
