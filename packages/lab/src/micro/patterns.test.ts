import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decodePageWord,
  expectedPage,
  pageWord,
  sumOfPages,
  touchedPages,
  type WordCount,
} from './patterns.js'

describe('touched pages', () => {
  test('ascending by default, at every stride-th page', () => {
    expect(touchedPages({ start: 600, count: 4, stride: 3 })).toEqual([600, 603, 606, 609])
    expect(touchedPages({ start: 600, count: 0 })).toEqual([])
  })

  test('any order visits exactly the ascending set, each page once', () => {
    const pattern = fc.record({
      start: fc.integer({ min: 512, max: 100_000 }),
      count: fc.integer({ min: 0, max: 3_000 }),
      stride: fc.integer({ min: 1, max: 50 }),
    })
    fc.assert(
      fc.property(pattern, fc.integer({ min: 1, max: 2 ** 32 - 1 }), (plain, order) => {
        const visited = touchedPages({ ...plain, order })
        expect(visited.toSorted((a, b) => a - b)).toEqual(touchedPages(plain))
      }),
    )
  })

  test('an order is neither ascending nor the same for another seed', () => {
    const run = { start: 512, count: 1000 }
    const first = touchedPages({ ...run, order: 1 })
    const neighbours = first.filter((page, index) => page + 1 === first[index + 1]).length
    expect(neighbours).toBeLessThan(100)
    expect(touchedPages({ ...run, order: 2 })).not.toEqual(first)
    expect(touchedPages({ ...run, order: 1 })).toEqual(first)
  })

  test.each([
    { start: -1, count: 1 },
    { start: 512, count: 1.5 },
    { start: 512, count: 1, stride: 0 },
    { start: 512, count: 1, order: 2 ** 32 },
    { start: 512, count: 2 ** 20, stride: 2 ** 20 },
  ])('$start $count $stride $order is refused', (pattern) => {
    expect(() => touchedPages(pattern)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('page content', () => {
  test('a word tells its page and seed', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (page, seed) => {
        expect(decodePageWord(pageWord(page, seed))).toEqual({ page, seed })
      }),
    )
  })

  test('whole pages repeat one word; fewer words leave the rest as it was', () => {
    const word = Buffer.alloc(8)
    word.writeBigUInt64LE(pageWord(700, 9))
    expect(Buffer.from(expectedPage(700, 9))).toEqual(Buffer.concat(Array(512).fill(word)))
    const before = new Uint8Array(4096).fill(0x55)
    for (const words of [1, 2, 8, 256] as WordCount[]) {
      const page = Buffer.from(expectedPage(700, 9, { words, before }))
      for (let at = 0; at < 4096; at += 8)
        expect(page.subarray(at, at + 8)).toEqual(at % (4096 / words) === 0 ? word : Buffer.alloc(8, 0x55))
    }
    expect(before).toEqual(new Uint8Array(4096).fill(0x55))
  })

  test('the sum depends on every word and on their order', () => {
    const pages = [expectedPage(600, 1), expectedPage(601, 1)] as const
    const changed = expectedPage(601, 1)
    changed[4095] = (changed[4095] as number) ^ 0x80
    const sums = [pages, pages.toReversed(), [pages[0], changed]].map(sumOfPages)
    expect(new Set(sums).size).toBe(3)
    expect(sumOfPages([new Uint8Array(4096)])).toBe(0n)
    // Two words: rotl(1, 1) + 5
    const two = new Uint8Array(16)
    two.set([1], 0)
    two.set([5], 8)
    expect(sumOfPages([two])).toBe(7n)
  })
})
