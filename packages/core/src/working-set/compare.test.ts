import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { emptyPageSet } from '../memory/page-set.js'
import { compareSets, compareWorkingSets, coverage, drift, jaccard } from './compare.js'
import type { WorkingSet } from './working-set.js'

const pages = fc.uniqueArray(fc.nat(40), { maxLength: 30 })

const workingSet = (readOnly: number[], written: number[], groups: number[][] = []): WorkingSet => ({
  image: '0102030405060708090a0b0c0d0e0f10',
  pages: 64,
  recordedAtMs: 0,
  windowMs: 0,
  readOnly: pageSetFromPages(readOnly),
  written: pageSetFromPages(written),
  groups: groups.map((list, atMs) => ({ atMs, set: pageSetFromPages(list) })),
  notes: {},
})

describe('comparison of page sets', () => {
  test('counts what plain sets count', () => {
    fc.assert(
      fc.property(pages, pages, (left, right) => {
        const [a, b] = [pageSetFromPages(left), pageSetFromPages(right)]
        const common = left.filter((page) => right.includes(page)).length
        const all = new Set([...left, ...right]).size
        const expected = {
          aPages: left.length,
          bPages: right.length,
          commonPages: common,
          onlyAPages: left.filter((page) => !right.includes(page)).length,
          onlyBPages: right.filter((page) => !left.includes(page)).length,
          jaccard: all === 0 ? 1 : common / all,
          coverage: right.length === 0 ? 1 : common / right.length,
        }
        expect(compareSets(a, b)).toEqual(expected)
        expect(jaccard(a, b)).toBe(expected.jaccard)
        expect(jaccard(b, a)).toBe(expected.jaccard)
        expect(coverage(a, b)).toBe(expected.coverage)
      }),
    )
  })

  test('tells one direction from the other', () => {
    const [part, whole] = [pageRange(0, 3), pageRange(0, 4)]
    expect(coverage(part, whole)).toBe(0.75)
    expect(coverage(whole, part)).toBe(1)
    expect(coverage(emptyPageSet, whole)).toBe(0)
    expect(jaccard(emptyPageSet, whole)).toBe(0)
    expect(jaccard(part, whole)).toBe(0.75)
  })
})

describe('comparison of working sets', () => {
  test('is per class and per group', () => {
    const a = workingSet([0, 1, 2, 3], [10, 11], [[0, 1], [10]])
    const b = workingSet([2, 3, 4, 10], [11], [[1, 2, 3, 4], [10, 11], [0]])
    // The last group of b is not in b itself: a comparison looks at sets, it does not judge them.
    expect(compareWorkingSets(a, b)).toEqual({
      present: {
        ...{ aPages: 6, bPages: 5, commonPages: 4, onlyAPages: 2, onlyBPages: 1 },
        ...{ jaccard: 4 / 7, coverage: 4 / 5 },
      },
      readOnly: {
        ...{ aPages: 4, bPages: 4, commonPages: 2, onlyAPages: 2, onlyBPages: 2 },
        ...{ jaccard: 2 / 6, coverage: 2 / 4 },
      },
      written: {
        ...{ aPages: 2, bPages: 1, commonPages: 1, onlyAPages: 1, onlyBPages: 0 },
        ...{ jaccard: 1 / 2, coverage: 1 },
      },
      groups: [
        { group: 0, pages: 4, coverage: 3 / 4, jaccard: 1 / 5 },
        { group: 1, pages: 2, coverage: 1, jaccard: 1 / 2 },
        { group: 2, pages: 1, coverage: 1, jaccard: 0 },
      ],
    })
  })

  test('is of one image', () => {
    const a = workingSet([0], [1])
    expect(() => compareWorkingSets(a, { ...a, image: 'ff'.repeat(16) })).toThrow(/of image ff/)
    expect(() => compareWorkingSets(a, { ...a, pages: 65 })).toThrow(/65/)
  })
})

describe('drift', () => {
  test('is against the set before and against the first', () => {
    const series = [pageRange(0, 4), pageRange(1, 4), pageRange(4, 4), pageRange(0, 4)]
    expect(drift(series)).toEqual([
      { pages: 4, jaccardToPrevious: 3 / 5, jaccardToFirst: 3 / 5 },
      { pages: 4, jaccardToPrevious: 1 / 7, jaccardToFirst: 0 },
      { pages: 4, jaccardToPrevious: 0, jaccardToFirst: 1 },
    ])
    expect(drift([pageRange(0, 4)])).toEqual([])
    expect(drift([])).toEqual([])
  })
})
