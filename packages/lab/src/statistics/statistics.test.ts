import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeValues } from './describe-values.js'
import { pairedRatio } from './paired-ratio.js'
import { nearestRank } from './quantile.js'
import { seededRandom, shuffled } from './random.js'

const rounds = (values: readonly number[]) => new Map(values.map((value, round) => [round, value]))
const someValues = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1, maxLength: 50 })

describe('nearest rank', () => {
  // The worked examples of the definition: https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method
  test.each([
    [[15, 20, 35, 40, 50], 0.05, 15],
    [[15, 20, 35, 40, 50], 0.3, 20],
    [[15, 20, 35, 40, 50], 0.4, 20],
    [[15, 20, 35, 40, 50], 0.5, 35],
    [[15, 20, 35, 40, 50], 1, 50],
    [[3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 0.25, 7],
    [[3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 0.5, 8],
    [[3, 6, 7, 8, 8, 10, 13, 15, 16, 20], 0.75, 15],
    [[3, 6, 7, 8, 8, 9, 10, 13, 15, 16, 20], 0.5, 9],
  ])('of %j at %d is %d', (values, p, expected) => {
    expect(nearestRank(values, p)).toBe(expected)
    expect(nearestRank([...values].reverse(), p)).toBe(expected)
  })

  test('is not misled by floating point: the 7th of 100 is the share 0.07', () => {
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1)
    for (let percent = 1; percent <= 100; percent++) expect(nearestRank(hundred, percent / 100)).toBe(percent)
  })

  test('is a value such that the share is not above it, and no smaller value is', () => {
    fc.assert(
      fc.property(someValues, fc.integer({ min: 1, max: 100 }), (values, percent) => {
        const found = nearestRank(values, percent / 100)
        const atMost = (limit: number) => values.filter((value) => value <= limit).length
        expect(values).toContain(found)
        expect(100 * atMost(found)).toBeGreaterThanOrEqual(percent * values.length)
        const below = values.filter((value) => value < found).length
        expect(100 * below).toBeLessThan(percent * values.length)
      }),
    )
  })

  test('of nothing is not a number', () => {
    expect(nearestRank([], 0.5)).toBeNaN()
    expect(describeValues([])).toBeUndefined()
  })
})

test('a description keeps the outlier', () => {
  expect(describeValues([5, 1, 2, 9000])).toEqual({
    n: 4,
    min: 1,
    p50: 2,
    p90: 9000,
    p99: 9000,
    max: 9000,
    median: 3.5,
  })
})

describe('seeded numbers', () => {
  test('are the published ones of mulberry32', () => {
    // First outputs of the reference in C for state 1, as unsigned 32-bit numbers.
    const random = seededRandom(1)
    expect(Array.from({ length: 3 }, () => random() * 2 ** 32)).toEqual([2693262067, 11749833, 2265367787])
  })

  test('shuffle to the same order for the same seed, keep every item, and bring each item to each place', () => {
    const items = ['a', 'b', 'c', 'd']
    const seen = new Map<string, number>()
    for (let seed = 0; seed < 4000; seed++) {
      const order = shuffled(items, seededRandom(seed))
      expect([...order].sort()).toEqual(items)
      const key = order.join('')
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    // 24 orders, 167 times each on average; a binomial strays by 13.
    expect(seen.size).toBe(24)
    for (const times of seen.values()) expect(Math.abs(times - 4000 / 24)).toBeLessThan(70)
    expect(shuffled(items, seededRandom(7))).toEqual(shuffled(items, seededRandom(7)))
  })
})

describe('a ratio by round', () => {
  test('is the median of the ratios, between all of six rounds', () => {
    const theirs = rounds([1, 1, 1, 1, 1, 1])
    expect(pairedRatio(rounds([3, 1, 2, 4, 6, 5]), theirs)).toEqual({
      ratio: 3.5,
      interval: [1, 6],
      range: [1, 6],
      rounds: 6,
    })
  })

  // Tables of the binomial distribution: of n coins at most k show heads in at most 2.5 %.
  test.each([
    [6, 0],
    [8, 0],
    [9, 1],
    [12, 2],
    [20, 5],
    [100, 39],
  ])('of %i rounds its interval leaves out %i at each end', (n, outside) => {
    const values = Array.from({ length: n }, (_, index) => index + 1)
    const theirs = rounds(values.map(() => 1))
    expect(pairedRatio(rounds(values), theirs).interval).toEqual([outside + 1, n - outside])
  })

  test('of very many rounds is found as well', () => {
    const values = Array.from({ length: 5000 }, (_, index) => index + 1)
    const [low, high] = pairedRatio(rounds(values), rounds(values.map(() => 1))).interval as [number, number]
    // 2,500 ± 1.96 × √5000 ÷ 2.
    expect(Math.abs(low - 2431)).toBeLessThan(3)
    expect(Math.abs(high - 2570)).toBeLessThan(3)
  })

  test('has no interval below six rounds, and no range where no round has both', () => {
    expect(pairedRatio(rounds([4, 6, 5, 5, 5]), rounds([2, 2, 2, 2, 2]))).toEqual({
      ratio: 2.5,
      interval: null,
      range: [2, 3],
      rounds: 5,
    })
    const apart = new Map([
      [7, 1],
      [8, 1],
    ])
    expect(pairedRatio(rounds([4, 4]), apart)).toEqual({ ratio: 4, interval: null, range: null, rounds: 0 })
  })

  test('pairs by round: what slows a whole round down does not widen the interval', () => {
    const slow = [1, 7, 3, 40, 2, 5, 9, 100, 4]
    expect(pairedRatio(rounds(slow.map((it) => 2 * it)), rounds(slow)).interval).toEqual([2, 2])
  })

  test('of zeros is 1 against zero, and beyond all others against something', () => {
    expect(pairedRatio(rounds([0, 0, 5]), rounds([0, 3, 0])).ratio).toBe(1)
    expect(pairedRatio(rounds([5]), rounds([0])).ratio).toBe(Number.POSITIVE_INFINITY)
  })

  test.each([6, 9, 20])('of %i rounds has an interval that holds the truth as often as it says', (n) => {
    const random = seededRandom(n)
    const noise = () => (random() < 0.05 ? 5 : 1) * (0.9 + 0.2 * random())
    let held = 0
    for (let experiment = 0; experiment < 1000; experiment++) {
      const base = Array.from({ length: n }, noise)
      const [low, high] = pairedRatio(
        rounds(base.map((it) => 2 * it * noise())),
        rounds(base.map((it) => it * noise())),
      ).interval as readonly [number, number]
      if (low <= 2 && 2 <= high) held++
    }
    expect(held / 1000).toBeGreaterThanOrEqual(0.95)
  })
})
