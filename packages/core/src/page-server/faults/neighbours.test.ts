import { describe, expect, test } from 'vitest'
import { aroundPages, Neighbours } from './neighbours.js'

const imagePages = 65_536

/** A guest that touches pages in this order; a page that is there is not asked for. */
function faultsOf(order: Iterable<number>, neighbours = new Neighbours(imagePages)) {
  const there = new Uint8Array(imagePages)
  let [faults, unasked] = [0, 0]
  for (const page of order) {
    if (there[page] === 1) continue
    faults++
    const first = page - (page % aroundPages)
    const come = neighbours.comeWith(page)
    for (let it = come ? first : page; it <= (come ? first + aroundPages - 1 : page); it++) {
      if (there[it] === 0 && it !== page) unasked++
      there[it] = 1
    }
  }
  return { faults, unasked }
}

const pages = (count: number, step: number, from = 0) =>
  Array.from({ length: count }, (_, n) => from + n * step)

function shuffled(values: number[]): number[] {
  let seed = 12345
  for (let index = values.length - 1; index > 0; index--) {
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    const other = Math.floor((seed / 2 ** 31) * (index + 1))
    ;[values[index], values[other]] = [values[other] as number, values[index] as number]
  }
  return values
}

describe('neighbours', () => {
  test.each(['in order', 'in random order'])('of pages far apart stop coming: 13 apart, %s', (how) => {
    const order = pages(5000, 13)
    const { faults, unasked } = faultsOf(how === 'in order' ? order : shuffled(order))
    expect(faults).toBe(5000)
    // Those of the first block only; with fours always it would be 15,000.
    expect(unasked).toBeLessThanOrEqual(512 * (aroundPages - 1))
  })

  test('of pages touched in order keep coming', () => {
    // A quarter, and one in 32 to see whether they are still wanted.
    expect(faultsOf(pages(imagePages, 1)).faults).toBeLessThan((imagePages / 4) * 1.05)
  })

  test('of pages of a dense area in random order come, but for its first pages', () => {
    expect(faultsOf(shuffled(pages(imagePages, 1))).faults).toBeLessThan((imagePages / 4) * 1.15)
  })

  test('come again soon where a guest goes from pages far apart to pages in order, and stop again', () => {
    const neighbours = new Neighbours(imagePages)
    faultsOf(pages(2000, 13), neighbours)
    expect(faultsOf(pages(8000, 1, 30_000), neighbours).faults).toBeLessThan(2000 * 1.1 + 64)
    expect(faultsOf(pages(2000, 13, 39_000), neighbours).unasked).toBeLessThanOrEqual(
      1024 * (aroundPages - 1),
    )
  })
})
