import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageRange, pageSetFromBytes, pageSetFromPages, pageSetFromRuns } from './make-page-set.js'
import { emptyPageSet, equals, has, type PageSet, pageSetLimit, pagesOf, runsOf } from './page-set.js'
import { pageSetFromJson, pageSetToJson } from './page-set-json.js'

/** Small page numbers, so that runs meet, touch and cover each other often. */
const size = 64
const pages = fc.array(fc.nat(size - 1), { maxLength: 80 })
const runs = fc.array(fc.record({ start: fc.nat(size - 9), count: fc.nat(8) }), { maxLength: 20 })

const naive = (set: PageSet): Set<number> => new Set(pagesOf(set))
const sorted = (values: Iterable<number>): number[] => [...new Set(values)].sort((a, b) => a - b)

/** The promise of PageSet: sorted, separate, non-empty runs that add up. */
function expectCanonical(set: PageSet): void {
  let previousEnd = -1
  let total = 0
  for (const { start, count } of runsOf(set)) {
    expect(start).toBeGreaterThan(previousEnd)
    expect(count).toBeGreaterThan(0)
    previousEnd = start + count
    total += count
  }
  expect(set.pages).toBe(total)
  expect(set.starts.length).toBe(set.counts.length)
}

function expectPages(set: PageSet, expected: Iterable<number>): void {
  expectCanonical(set)
  expect([...pagesOf(set)]).toEqual(sorted(expected))
}

describe('making page sets', () => {
  test('from pages in any order with duplicates', () => {
    fc.assert(fc.property(pages, (list) => expectPages(pageSetFromPages(list), list)))
  })

  test('from runs in any order that overlap, touch or are empty', () => {
    fc.assert(
      fc.property(runs, (list) =>
        expectPages(
          pageSetFromRuns(list),
          list.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i)),
        ),
      ),
    )
  })

  test('from one byte a page, by bit 0 alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(1000), (bytes, first) =>
        expectPages(
          pageSetFromBytes(bytes, first),
          [...bytes].flatMap((byte, i) => (byte % 2 === 1 ? [first + i] : [])),
        ),
      ),
    )
  })

  test('reaches the last page and refuses the one behind it', () => {
    const last = pageRange(pageSetLimit - 1, 1)
    expect(has(last, pageSetLimit - 1)).toBe(true)
    expect(pageRange(0, pageSetLimit).pages).toBe(pageSetLimit)
    for (const make of [
      () => pageRange(pageSetLimit, 1),
      () => pageRange(-1, 2),
      () => pageRange(0.5, 1),
      () => pageSetFromPages([pageSetLimit]),
      () => pageSetFromPages([Number.NaN]),
      () => pageSetFromBytes(new Uint8Array(2), pageSetLimit - 1),
    ])
      expect(make).toThrow(/2\^32/)
  })
})

describe('looking at page sets', () => {
  test('has and equals agree with plain sets', () => {
    fc.assert(
      fc.property(pages, pages, (left, right) => {
        const a = pageSetFromPages(left)
        const inA = naive(a)
        expect(equals(a, pageSetFromPages(right))).toBe(sorted(left).join() === sorted(right).join())
        for (let page = 0; page < size; page++) expect(has(a, page)).toBe(inA.has(page))
      }),
      { numRuns: 500 },
    )
  })
})

describe('JSON form', () => {
  test('round trip', () => {
    fc.assert(
      fc.property(pages, (list) => {
        const set = pageSetFromPages(list)
        const read = pageSetFromJson(JSON.parse(JSON.stringify(pageSetToJson(set))), size, 'set')
        expect(equals(read, set)).toBe(true)
        expect(read.pages).toBe(set.pages)
      }),
    )
  })

  test('any other value is FORMAT_INVALID or a canonical set, never something else', () => {
    const flat = fc.array(fc.oneof(fc.integer({ min: -2, max: 70 }), fc.double(), fc.constant('1')))
    fc.assert(
      fc.property(fc.oneof(flat, fc.anything()), (value) => {
        try {
          const set = pageSetFromJson(value, size, 'set')
          expectCanonical(set)
          expect(pageSetToJson(set)).toEqual(value)
        } catch (error) {
          expect(isVarveError(error, 'FORMAT_INVALID')).toBe(true)
        }
      }),
    )
    for (const bad of [[0], [0, 0], [0, 65], [2, 1, 0, 1], [0, 1, 1, 1], [-1, 2], [-0, 1], null, {}])
      expect(() => pageSetFromJson(bad, size, 'set')).toThrow('set')
    expect(pageSetFromJson([], 0, 'set')).toEqual(emptyPageSet)
  })
})
