import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { atLeast } from './at-least.js'
import { pageRange, pageSetFromBytes, pageSetFromPages } from './make-page-set.js'
import { emptyPageSet, equals, type PageSet, pageSetLimit } from './page-set.js'
import {
  clip,
  complement,
  intersect,
  mergeGaps,
  minus,
  pagesInBoth,
  union,
  unionAll,
} from './page-set-algebra.js'

/** One byte a page, which is the model: each operation on sets must be that operation page by page. */
type Model = Uint8Array

const few = fc.uint8Array({ maxLength: 90, max: 1 })

/**
 * Some thousand pages, in and out by chance or in a pattern: as dense as the
 * bitmaps want it, and just too sparse.
 */
const many = fc
  .record({
    pages: fc.integer({ min: 3000, max: 9000 }),
    seed: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    share: fc.constantFrom(0.02, 0.1, 0.5, 0.9, 0.99),
    kind: fc.constantFrom('chance', 'every second', 'long runs'),
    from: fc.nat(3000),
  })
  .map(({ pages, seed, share, kind, from }): Model => {
    const bytes = new Uint8Array(pages)
    let state = seed
    const chance = (): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return state / 2 ** 32
    }
    for (let page = Math.min(from, pages - 1); page < pages; page++)
      if (kind === 'every second') bytes[page] = (page + seed) % 2
      else if (kind === 'chance') bytes[page] = chance() < share ? 1 : 0
      else bytes[page] = chance() < 0.05 ? 1 - (bytes[page - 1] ?? 0) : (bytes[page - 1] ?? 0)
    return bytes
  })

const models = [
  { name: 'few runs', model: few, numRuns: 300 },
  { name: 'many runs', model: many, numRuns: 40 },
]

/** What the set must be, run by run: its arrays have one form, so equality is of all that can be seen. */
const toSet = (pages: number, has: (page: number) => boolean): PageSet =>
  pageSetFromBytes(Uint8Array.from({ length: pages }, (_, page) => (has(page) ? 1 : 0)))

describe.each(models)('algebra of $name', ({ model, numRuns }) => {
  test('union, intersect and minus', () => {
    fc.assert(
      fc.property(model, model, (a, b) => {
        const [left, right] = [pageSetFromBytes(a), pageSetFromBytes(b)]
        const pages = Math.max(a.length, b.length)
        expect(union(left, right)).toEqual(toSet(pages, (page) => a[page] === 1 || b[page] === 1))
        expect(pagesInBoth(left, right)).toBe(intersect(left, right).pages)
        expect(intersect(left, right)).toEqual(toSet(pages, (page) => a[page] === 1 && b[page] === 1))
        expect(minus(left, right)).toEqual(toSet(pages, (page) => a[page] === 1 && b[page] !== 1))
      }),
      { numRuns },
    )
  })

  test('clip and complement', () => {
    fc.assert(
      fc.property(model, fc.nat(10_000), fc.nat(10_000), fc.nat(100), (a, from, to, unit) => {
        const start = unit === 0 ? from : from % (a.length + 2)
        const count = to % (a.length + 2)
        const set = pageSetFromBytes(a)
        const within = (page: number) => page >= start && page < start + count
        expect(clip(set, start, count)).toEqual(toSet(a.length, (page) => a[page] === 1 && within(page)))
        expect(complement(set, count)).toEqual(toSet(count, (page) => a[page] !== 1))
      }),
      { numRuns },
    )
  })

  test('unionAll and atLeast', () => {
    fc.assert(
      fc.property(fc.array(model, { maxLength: 5 }), fc.integer({ min: 1, max: 6 }), (list, k) => {
        const sets = list.map((bytes) => pageSetFromBytes(bytes))
        const pages = Math.max(0, ...list.map(({ length }) => length))
        const timesIn = (page: number) => list.filter((bytes) => bytes[page] === 1).length
        expect(unionAll(sets)).toEqual(toSet(pages, (page) => timesIn(page) >= 1))
        expect(atLeast(k, sets)).toEqual(toSet(pages, (page) => timesIn(page) >= k))
      }),
      { numRuns },
    )
  })

  test('mergeGaps fills the gaps between runs up to the length given, and no other', () => {
    fc.assert(
      fc.property(model, fc.nat(8), (a, gapPages) => {
        const filled = Uint8Array.from(a)
        const first = a.indexOf(1)
        for (let page = first, gapStart = first; first >= 0 && page < a.length; page++)
          if (a[page] === 1) {
            if (page - gapStart <= gapPages) filled.fill(1, gapStart, page)
            gapStart = page + 1
          }
        expect(mergeGaps(pageSetFromBytes(a), gapPages)).toEqual(pageSetFromBytes(filled))
      }),
      { numRuns },
    )
  })
})

describe('algebra at its limits', () => {
  test('agrees with itself on 16 GiB of alternating and of random pages', () => {
    const pages = 2 ** 22
    const alternating = pageSetFromBytes(new Uint8Array(pages).map((_, page) => page & 1))
    const random = pageSetFromBytes(
      new Uint8Array(pages).map((_, page) => Math.imul(page, 0x9e3779b1) >>> 31),
    )
    const others = complement(alternating, pages)
    // `equals` and not `toEqual`, which takes seconds for millions of runs.
    const same = (a: PageSet, b: PageSet) => expect(equals(a, b)).toBe(true)
    expect(others.starts.length).toBe(pages / 2)
    same(union(alternating, others), pageRange(0, pages))
    same(intersect(alternating, others), emptyPageSet)
    same(atLeast(2, [alternating, others, random]), random)
    same(union(minus(random, alternating), intersect(random, alternating)), random)
    same(clip(complement(complement(random, pages), pages), 5, pages), minus(random, pageRange(0, 5)))
    same(mergeGaps(alternating), pageRange(1, pages - 1))
  })

  test('reaches the last page a set can hold', () => {
    const last = pageRange(pageSetLimit - 1, 1)
    expect(complement(emptyPageSet, pageSetLimit + 5)).toEqual(pageRange(0, pageSetLimit))
    expect(complement(last, pageSetLimit)).toEqual(pageRange(0, pageSetLimit - 1))
    expect(clip(last, 0, 2 ** 40)).toEqual(last)
    expect(mergeGaps(union(last, pageRange(pageSetLimit - 4, 1)), 2)).toEqual(pageRange(pageSetLimit - 4, 4))
    expect(atLeast(2, [last, pageRange(pageSetLimit - 2, 2)])).toEqual(last)
    const dense = pageSetFromPages(Uint32Array.from({ length: 3000 }, (_, i) => pageSetLimit - 1 - 2 * i))
    expect(intersect(dense, pageRange(0, pageSetLimit))).toEqual(dense)
    expect(union(dense, dense)).toEqual(dense)
  })

  test('merges gaps of 32 pages unless told otherwise', () => {
    const runs = unionAll([pageRange(0, 1), pageRange(33, 1), pageRange(67, 1)])
    expect(mergeGaps(runs)).toEqual(union(pageRange(0, 34), pageRange(67, 1)))
    expect(mergeGaps(runs, 0)).toEqual(runs)
  })

  test('does not write to the sets it is given', () => {
    const sets = [3, 5, 7].map((step) =>
      pageSetFromPages(Uint32Array.from({ length: 2000 }, (_, i) => i * step)),
    )
    const before = structuredClone(sets)
    const [a, b] = sets as [PageSet, PageSet]
    for (const operation of [union, intersect, minus]) operation(a, b)
    unionAll(sets)
    atLeast(2, sets)
    clip(a, 1, 100)
    complement(a, 100)
    mergeGaps(a, 1)
    expect(sets).toEqual(before)
  })

  test('refuses ranges, gaps and numbers of sets that are none', () => {
    const refused = (act: () => unknown) => {
      try {
        act()
      } catch (error) {
        return isVarveError(error, 'INVALID_ARGUMENT')
      }
      return false
    }
    expect(refused(() => clip(emptyPageSet, -1, 2))).toBe(true)
    expect(refused(() => clip(emptyPageSet, 0, 0.5))).toBe(true)
    expect(refused(() => complement(emptyPageSet, Number.NaN))).toBe(true)
    expect(refused(() => mergeGaps(emptyPageSet, -1))).toBe(true)
    expect(refused(() => mergeGaps(emptyPageSet, 1.5))).toBe(true)
    expect(refused(() => atLeast(0, []))).toBe(true)
    expect(refused(() => atLeast(1.5, [emptyPageSet]))).toBe(true)
  })
})
