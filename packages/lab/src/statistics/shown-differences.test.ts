import { describe, expect, test } from 'vitest'
import { type Random, seededRandom } from './random.js'
import { type Comparison, type Shown, shownDifferences } from './shown-differences.js'

/**
 * Times as they come: skewed to the right, a busy round slows all of it, and one in twenty takes several
 * times as long.
 */
function timesOf(random: Random, rounds: number, contenders: number, factors: readonly number[] = []) {
  const noise = () =>
    Math.exp(0.1 * (random() + random() + random())) * (random() < 0.05 ? 1 + 4 * random() : 1)
  const times = Array.from({ length: contenders + 1 }, () => new Map<number, number>())
  for (let round = 1; round <= rounds; round++) {
    const busy = Math.exp(random())
    for (const [contender, values] of times.entries())
      values.set(round, busy * noise() * (factors[contender - 1] ?? 1))
  }
  const [theirs, ...ours] = times
  return ours.map((it): Comparison => ({ ours: it, theirs: theirs as Map<number, number> }))
}

/** In how many of 100 experiments, each with comparisons of its own, it is so. */
function percent(
  [rounds, contenders, factors = []]: readonly [number, number, (readonly number[])?],
  isSo: (shown: readonly Shown[]) => boolean,
): number {
  const random = seededRandom(100 * rounds + contenders)
  const experiments = 400
  let count = 0
  for (let n = 0; n < experiments; n++)
    if (isSo(shownDifferences(timesOf(random, rounds, contenders, factors)))) count++
  return (100 * count) / experiments
}
const any = (shown: readonly Shown[]) => shown.some((it) => it !== null)

describe('without a true difference', () => {
  const cases = [2, 3, 6, 20].flatMap((rounds) =>
    [1, 3, 12].map((contenders) => [rounds, contenders] as const),
  )
  test.each(cases)('%i rounds of %i comparisons show one in at most 5 of 100 experiments', (...design) => {
    expect(percent(design, any)).toBeLessThanOrEqual(5)
  })

  test('fewer than six rounds show none at all, however large it looks', () => {
    const five = (value: number) => new Map([1, 2, 3, 4, 5].map((round) => [round, value]))
    expect(shownDifferences([{ ours: five(1000), theirs: five(1) }])).toEqual([null])
  })

  test('others that truly differ do not change that', () => {
    const same = (shown: readonly Shown[]) => any(shown.slice(3))
    expect(percent([6, 6, [2, 2, 2]], same)).toBeLessThanOrEqual(5)
    expect(percent([20, 6, [2, 2, 2]], same)).toBeLessThanOrEqual(5)
  })
})

describe('a true difference of 2×', () => {
  const found = (shown: readonly Shown[]) => shown[0] === 'more'

  test('is found by six rounds where no round is far out, among twelve comparisons too', () => {
    for (const contenders of [1, 12]) {
      const random = seededRandom(contenders)
      const rounds = [1, 2, 3, 4, 5, 6]
      const times = (factor: number) =>
        new Map(rounds.map((round) => [round, factor * round * (0.8 + 0.4 * random())]))
      const theirs = times(1)
      const comparisons = Array.from({ length: contenders }, (_, n) => ({
        ours: times(n === 0 ? 2 : 1),
        theirs,
      }))
      expect(shownDifferences(comparisons)).toEqual(['more', ...Array(contenders - 1).fill(null)])
    }
  })

  test('is found mostly by six rounds of which some are far out, and by twenty', () => {
    expect(percent([6, 1, [2]], found)).toBeGreaterThan(75)
    expect(percent([6, 12, [2]], found)).toBeGreaterThan(65)
    expect(percent([20, 12, [2]], found)).toBeGreaterThan(97)
  })
})

test('says which side, is the same each time, and pairs what rounds have in common', () => {
  const of = (values: readonly number[]) => new Map(values.map((value, round) => [round, value]))
  const slow = [1, 7, 3, 40, 2, 5, 9, 100, 4]
  const comparisons = [
    { ours: of(slow.map((it) => 1.2 * it)), theirs: of(slow) },
    { ours: of(slow.map((it) => 0.8 * it)), theirs: of(slow) },
    { ours: of(slow), theirs: of(slow) },
  ]
  expect(shownDifferences(comparisons)).toEqual(['more', 'less', null])
  expect(shownDifferences(comparisons)).toEqual(shownDifferences(comparisons))
})

test('zeros are values as others are', () => {
  const of = (values: readonly number[]) => new Map(values.map((value, round) => [round, value]))
  const [zeros, counts] = [of([0, 0, 0, 0, 0, 0]), of([3, 9, 4, 1, 7, 2])]
  expect(
    shownDifferences([
      { ours: zeros, theirs: counts },
      { ours: counts, theirs: zeros },
      { ours: zeros, theirs: zeros },
    ]),
  ).toEqual(['less', 'more', null])
})
