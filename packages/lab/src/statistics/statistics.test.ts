import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeValues } from './describe-values.js'
import { median } from './median.js'
import { nearestRank } from './quantile.js'
import { seededRandom, shuffled } from './random.js'
import { ratioOfMedians } from './ratio-of-medians.js'

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

describe('the ratio of medians', () => {
  test('of two rounds has an interval that can be counted out', () => {
    // Resamples of the rounds (1,1) and (3,1): medians 1, 2, 2, 3 over 1, so a quarter each for 1 and 3.
    const ours = rounds([1, 3])
    const theirs = rounds([1, 1])
    expect(ratioOfMedians(ours, theirs)).toEqual({ ratio: 2, interval: [1, 3], rounds: 2 })
    expect(ratioOfMedians(ours, theirs, { confidence: 0.4 }).interval).toEqual([2, 2])
  })

  test('of three rounds has the quantiles of all 27 resamples', () => {
    const values = [1, 2, 4]
    const medians: number[] = []
    for (const a of values) for (const b of values) for (const c of values) medians.push(median([a, b, c]))
    const exact = [nearestRank(medians, 0.2), nearestRank(medians, 0.8)]
    // 1 and 4 are the median of 7 of 27 each: 26 %.
    expect(exact).toEqual([1, 4])
    expect(ratioOfMedians(rounds(values), rounds([1, 1, 1]), { confidence: 0.6 }).interval).toEqual(exact)
    expect(ratioOfMedians(rounds(values), rounds([1, 1, 1]), { confidence: 0.4 }).interval).toEqual([2, 2])
  })

  test('pairs by round: what slows a whole round down does not widen the interval', () => {
    const slow = [1, 7, 3, 40, 2, 5, 9, 100, 4]
    const paired = ratioOfMedians(rounds(slow.map((it) => 2 * it)), rounds(slow))
    expect(paired).toEqual({ ratio: 2, interval: [2, 2], rounds: 9 })
    const unpaired = ratioOfMedians(rounds(slow.map((it) => 2 * it)), rounds([...slow].reverse()))
    const [low, high] = unpaired.interval as readonly [number, number]
    expect(high / low).toBeGreaterThan(2)
  })

  test('has an interval only where two rounds have both', () => {
    expect(ratioOfMedians(rounds([4]), rounds([2]))).toEqual({ ratio: 2, interval: null, rounds: 1 })
    const apart = new Map([
      [7, 1],
      [8, 1],
    ])
    expect(ratioOfMedians(rounds([4, 4]), apart)).toEqual({ ratio: 4, interval: null, rounds: 0 })
  })

  test('is the same for the same seed, and refuses a confidence that is none', () => {
    const [ours, theirs] = [rounds([3, 1, 4, 1, 5, 9, 2, 6]), rounds([2, 7, 1, 8, 2, 8, 1, 8])]
    expect(ratioOfMedians(ours, theirs)).toEqual(ratioOfMedians(ours, theirs))
    for (const confidence of [0, 1, Number.NaN])
      expect(() => ratioOfMedians(ours, theirs, { confidence })).toThrow(/confidence/)
  })

  test('has an interval that holds the truth about as often as it says', () => {
    // 300 experiments of 20 rounds; ours is twice theirs but for noise of its own and of the round, some of it far out.
    const random = seededRandom(42)
    const noise = () => (random() < 0.05 ? 5 : 1) * (0.9 + 0.2 * random())
    let held = 0
    for (let experiment = 0; experiment < 300; experiment++) {
      const base = Array.from({ length: 20 }, noise)
      const ours = rounds(base.map((it) => 2 * it * (0.95 + 0.1 * random())))
      const theirs = rounds(base.map((it) => it * (0.95 + 0.1 * random())))
      const [low, high] = ratioOfMedians(ours, theirs, { resamples: 300, seed: experiment })
        .interval as readonly [number, number]
      if (low <= 2 && 2 <= high) held++
    }
    expect(held / 300).toBeGreaterThan(0.9)
  })
})
