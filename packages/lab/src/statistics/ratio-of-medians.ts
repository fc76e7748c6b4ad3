import { VarveError } from 'varve'
import { median } from './median.js'
import { nearestRank } from './quantile.js'
import { seededRandom } from './random.js'

export interface RatioOfMedians {
  /** median of `ours` ÷ median of `theirs`, over all values that each has, paired or not. */
  readonly ratio: number
  /** Between these the ratio lies with the given confidence; null where fewer than two rounds have both. */
  readonly interval: readonly [low: number, high: number] | null
  /** Rounds that have a value on both sides. */
  readonly rounds: number
}

export interface RatioOptions {
  /** Default 0.95. */
  readonly confidence?: number
  /** Default 2,000, at which the ends of a 95 % interval stand still to about 1 %. */
  readonly resamples?: number
  readonly seed?: number
}

/**
 * How many times as long (or as much) ours takes as theirs. The interval is the percentile bootstrap (Efron and Tibshirani, An
 * Introduction to the Bootstrap, 1993, §13.3): rounds are drawn with replacement, each with both its values, as what a round has
 * in common (a busy host, a cold disk) moves both sides. No value is left out: outliers are in every resample as often as they
 * were in the rounds, and a median bears them.
 */
export function ratioOfMedians(
  ours: ReadonlyMap<number, number>,
  theirs: ReadonlyMap<number, number>,
  { confidence = 0.95, resamples = 2000, seed = 1 }: RatioOptions = {},
): RatioOfMedians {
  if (!(confidence > 0 && confidence < 1) || !Number.isInteger(resamples) || resamples < 1)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `confidence ${confidence} with ${resamples} resamples: it is between 0 and 1, with at least 1`,
    )
  const ratio = median([...ours.values()]) / median([...theirs.values()])
  const both = [...ours].flatMap(([round, value]) => {
    const other = theirs.get(round)
    return other === undefined ? [] : [[value, other] as const]
  })
  if (both.length < 2) return { ratio, interval: null, rounds: both.length }
  const random = seededRandom(seed)
  const ratios = Array.from({ length: resamples }, () => {
    const drawn = both.map(() => both[Math.floor(random() * both.length)] as readonly [number, number])
    return median(drawn.map(([mine]) => mine)) / median(drawn.map(([, other]) => other))
  })
  const tail = (1 - confidence) / 2
  return { ratio, interval: [nearestRank(ratios, tail), nearestRank(ratios, 1 - tail)], rounds: both.length }
}
