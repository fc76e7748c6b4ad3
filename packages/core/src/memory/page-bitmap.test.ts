import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pageRange, pageSetFromPages, pageSetFromRuns } from './make-page-set.js'
import { bitmapFor, countRuns, emptyBitmap, fewPagesOf, pageSetFromBitmap, setBits } from './page-bitmap.js'
import { type PageRun, pageSetLimit } from './page-set.js'

/** Runs that end at, just before and just behind the edges of 32-bit words, and runs of many words. */
const edge = fc
  .tuple(fc.nat(12), fc.integer({ min: -2, max: 2 }))
  .map(([word, by]) => Math.max(0, 32 * word + by))
const runs = fc.array(
  fc.tuple(edge, edge).map(([a, b]): PageRun => ({ start: Math.min(a, b), count: Math.abs(a - b) })),
  { maxLength: 6 },
)

describe('page bitmap', () => {
  test('gives back the set that was put in, wherever it begins', () => {
    fc.assert(
      fc.property(runs, fc.nat(70), fc.nat(5), (list, shift, before) => {
        const set = pageSetFromRuns(
          list.map(({ start, count }) => ({ start: start + shift + before, count })),
        )
        const bitmap = emptyBitmap(shift, 13 * 32 + before)
        setBits(bitmap, set)
        expect(countRuns(bitmap)).toBe(set.starts.length)
        expect(pageSetFromBitmap(bitmap)).toEqual(set)
      }),
    )
  })

  test('holds the bits of several sets', () => {
    fc.assert(
      fc.property(runs, runs, (a, b) => {
        const bitmap = emptyBitmap(0, 13 * 32)
        setBits(bitmap, pageSetFromRuns(a))
        setBits(bitmap, pageSetFromRuns(b))
        expect(pageSetFromBitmap(bitmap)).toEqual(pageSetFromRuns([...a, ...b]))
      }),
    )
  })

  test('reaches the last page there is', () => {
    const set = pageSetFromRuns([
      { start: pageSetLimit - 100, count: 3 },
      { start: pageSetLimit - 64, count: 64 },
    ])
    const bitmap = emptyBitmap(pageSetLimit - 101, 101)
    setBits(bitmap, set)
    expect(pageSetFromBitmap(bitmap)).toEqual(set)
  })

  test('is used for many short runs only, and is never larger than they are', () => {
    const every = (step: number, count: number) =>
      pageSetFromPages(Uint32Array.from({ length: count }, (_, i) => 7 + i * step))
    const bitmap = bitmapFor([every(2, 2000), every(4, 2000)])
    expect(bitmap?.first).toBe(7)
    expect(bitmap?.words.length).toBe(Math.ceil((1999 * 4 + 1) / 32))
    expect(bitmapFor([every(4, 2000)])).toBeDefined()
    expect(bitmapFor([every(5, 2000)])).toBeUndefined()
    const setsOf = (count: number, step: number) =>
      Array.from({ length: count }, () => every(step * count, 2000))
    expect(bitmapFor(setsOf(3, 12))).toBeDefined()
    expect(bitmapFor(setsOf(3, 13))).toBeUndefined()
    const widest = setsOf(100, 64)
    expect(bitmapFor(widest)?.words.byteLength).toBeLessThanOrEqual(100 * 2000 * 8)
    expect(bitmapFor(setsOf(100, 65))).toBeUndefined()
    expect(bitmapFor([every(2, 100), every(4, 100)])).toBeUndefined()
    expect(bitmapFor([pageRange(0, 2 ** 20)])).toBeUndefined()
    expect(bitmapFor([])).toBeUndefined()
  })
})

describe('few pages of a bitmap', () => {
  const withRuns = (first: number, pages: number, ...runs: [number, number][]) => {
    const bitmap = emptyBitmap(first, pages)
    setBits(bitmap, pageSetFromRuns(runs.map(([start, count]) => ({ start, count }))))
    return bitmap
  }

  test('are those of all its words, also where a run goes from one stretch to the next', () => {
    // A stretch has 32,768 pages.
    const bitmap = withRuns(64, 150_000, [64, 1], [8200, 200], [64 + 32_768 - 3, 7], [150_063, 1])
    expect(fewPagesOf(bitmap, 209)).toEqual(pageSetFromBitmap(bitmap))
  })

  test('are none of an empty one, and undefined of one with more', () => {
    expect(fewPagesOf(withRuns(0, 140_000), 0)?.pages).toBe(0)
    expect(fewPagesOf(withRuns(0, 140_000, [3, 2], [139_999, 1]), 2)).toBeUndefined()
  })
})
