import { type PageSet, runsOf } from '../../memory/page-set.js'
import { intersect, minus, unionAll } from '../../memory/page-set-algebra.js'
import { RunBuilder } from '../../memory/run-builder.js'

/**
 * The same pages in about the same order, in fewer runs: with a page come those of all later sets that lie in
 * the same aligned block. Groups of a recording that touch the same runs one page after another would else
 * ask for each run several times.
 */
export function withNeighbours(sets: readonly PageSet[], blockPages: number): PageSet[] {
  let missing = unionAll(sets)
  const together: PageSet[] = []
  for (const set of sets) {
    if (missing.pages === 0) break
    const taken = intersect(missing, blocksOf(set, blockPages))
    if (taken.pages === 0) continue
    together.push(taken)
    missing = minus(missing, taken)
  }
  return together
}

/** All pages of the blocks that a set lies in. */
function blocksOf(set: PageSet, blockPages: number): PageSet {
  const blocks = new RunBuilder(set.starts.length)
  for (const { start, count } of runsOf(set)) {
    const first = Math.floor(start / blockPages) * blockPages
    blocks.add(first, Math.ceil((start + count) / blockPages) * blockPages - first)
  }
  return blocks.finish()
}
