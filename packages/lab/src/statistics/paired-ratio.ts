import { median } from './median.js'

/** By round. */
export type Rounds = ReadonlyMap<number, number>

export interface PairedRatio {
  /** Ours ÷ theirs: the median over the rounds that have both; if none has, median ÷ median. */
  readonly ratio: number
  /**
   * Holds the true median ratio in at least 95 of 100 such experiments, whatever the
   * distribution. For this one ratio, not for many at once. Null below `leastRounds` rounds,
   * because no interval can promise that there.
   */
  readonly interval: readonly [low: number, high: number] | null
  /** The smallest and the largest ratio of a round; null if no round has both. */
  readonly range: readonly [low: number, high: number] | null
  /** Rounds that have a value on both sides. */
  readonly rounds: number
}

/**
 * Of six rounds without a true difference all lie on one side in 1 of 32 experiments; of five in 1 of 16,
 * more than 5 %.
 */
export const leastRounds = 6

const confidence = 0.95

/**
 * How many times as long (or as much) ours takes as theirs, round by round: a busy host or a cold disk
 * affects both sides of a round, and so does not count. The interval lies between two of the rounds' ratios
 * (order statistics; W. Conover, Practical Nonparametric Statistics, 3rd ed., §3.2): it is exact for any
 * distribution, and no value is left out.
 */
export function pairedRatio(ours: Rounds, theirs: Rounds): PairedRatio {
  const ratios = [...ours]
    .flatMap(([round, value]) => {
      const other = theirs.get(round)
      if (other === undefined) return []
      return [value === other ? 1 : value / other]
    })
    .sort((a, b) => a - b)
  const rounds = ratios.length
  if (rounds === 0)
    return {
      ratio: median([...ours.values()]) / median([...theirs.values()]),
      interval: null,
      range: null,
      rounds,
    }
  const between = (outside: number) => [ratios[outside], ratios[rounds - 1 - outside]] as [number, number]
  return {
    ratio: median(ratios),
    interval: rounds < leastRounds ? null : between(valuesOutside(rounds)),
    range: between(0),
    rounds,
  }
}

/**
 * How many of `n` values may be left out at each end: `n` coins show that few heads, or fewer, in at most 2.5
 * % of cases.
 */
function valuesOutside(n: number): number {
  const tail = (1 - confidence) / 2
  let logShare = -n * Math.LN2
  let sum = 0
  for (let heads = 0; ; heads++) {
    sum += Math.exp(logShare)
    if (sum > tail) return heads - 1
    logShare += Math.log((n - heads) / (heads + 1))
  }
}
