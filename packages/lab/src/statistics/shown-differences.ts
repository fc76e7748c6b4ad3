import { pairedRatio, type Rounds } from './paired-ratio.js'
import { type Random, seededRandom } from './random.js'

export interface Comparison {
  readonly ours: Rounds
  readonly theirs: Rounds
}

/** Which side a difference is shown for; null: none is shown. */
export type Shown = 'less' | 'more' | null

/**
 * A set of comparisons with no true difference among them yields any verdict in at most this share of
 * experiments.
 */
const level = 0.05
/** Up to this many rounds, all ways to swap the sides are tried: 2,048. */
const exhaustiveRounds = 12
const randomSwaps = 1999
/**
 * Differences looked at: some two seconds. Files of very many rounds get fewer swaps, but never fewer than
 * `leastSwaps`.
 */
const mostWork = 2e8
/** 5 % of these are 20: fine enough. */
const leastSwaps = 399

export interface ShownDifferencesOptions {
  /** Of the swaps that are drawn. Default 1. */
  readonly seed?: number
}

/**
 * Which of several comparisons show a difference, at 5 % for all of them together. If ours and theirs are the
 * same, they could be swapped in any round. So each comparison is compared with its values after random swaps
 * of rounds (a randomisation test: E. Edgington, Randomization Tests), and with the largest of all
 * comparisons under the same swap (step-down max T: P. Westfall and S. Young, Resampling-Based Multiple
 * Testing, 1993, §2.6). It presumes no distribution, and comparisons with one baseline may depend on each
 * other. A verdict also needs an interval of `pairedRatio` that lies on one side of 1, so that the two never
 * disagree.
 *
 * Fewer than six rounds show nothing: more than 5 % of their swaps change nothing.
 */
export function shownDifferences(
  comparisons: readonly Comparison[],
  { seed = 1 }: ShownDifferencesOptions = {},
): Shown[] {
  const intervals = comparisons.map(({ ours, theirs }) => pairedRatio(ours, theirs).interval)
  const family = comparisons.flatMap((comparison, index) =>
    intervals[index] === null ? [] : [{ index, ...differencesOf(comparison) }],
  )
  const shown: Shown[] = comparisons.map(() => null)
  if (family.length === 0) return shown
  for (const { index, p } of adjusted(family, seededRandom(seed))) {
    const [low, high] = intervals[index] as readonly [number, number]
    if (p <= level) shown[index] = high < 1 ? 'less' : low > 1 ? 'more' : null
  }
  return shown
}

interface Differences {
  readonly rounds: readonly number[]
  readonly values: Float64Array
}

/**
 * From −1 to 1, a function of the ratio alone that changes its sign if the sides are swapped, and that
 * zeros and outliers do not upset.
 */
function differencesOf({ ours, theirs }: Comparison): Differences {
  const rounds: number[] = []
  const values: number[] = []
  for (const [round, value] of ours) {
    const other = theirs.get(round)
    if (other === undefined) continue
    rounds.push(round)
    values.push(value === other ? 0 : (value - other) / (Math.abs(value) + Math.abs(other)))
  }
  return { rounds, values: Float64Array.from(values) }
}

interface Member extends Differences {
  readonly index: number
}

/**
 * Each comparison's share of swaps in which it, or one that stands out less, would stand out as much by
 * chance.
 */
function adjusted(
  family: readonly Member[],
  random: Random,
): { readonly index: number; readonly p: number }[] {
  const places = new Map<number, number>()
  for (const { rounds } of family)
    for (const round of rounds) if (!places.has(round)) places.set(round, places.size)
  const signs = new Int8Array(places.size).fill(1)
  const members = family.map(({ index, rounds, values }) => ({
    index,
    values,
    places: Int32Array.from(rounds, (round) => places.get(round) as number),
    // No swap changes it.
    norm: Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)),
  }))
  const statistic = ({ values, places: at, norm }: (typeof members)[number]): number => {
    let sum = 0
    for (let n = 0; n < values.length; n++) sum += (values[n] as number) * (signs[at[n] as number] as number)
    return norm === 0 ? 0 : Math.abs(sum) / norm
  }
  const ordered = members
    .map((member) => ({ member, observed: statistic(member), reached: 0 }))
    .sort((a, b) => b.observed - a.observed)
  let swaps = 0
  for (const _ of allSwaps(
    signs,
    random,
    members.reduce((sum, { values }) => sum + values.length, 0),
  )) {
    swaps++
    let largest = 0
    for (let n = ordered.length - 1; n >= 0; n--) {
      const it = ordered[n] as (typeof ordered)[number]
      largest = Math.max(largest, statistic(it.member))
      if (largest >= it.observed - 1e-9) it.reached++
    }
  }
  let p = 0
  return ordered.map(({ member: { index }, reached }) => {
    p = Math.max(p, reached / swaps)
    return { index, p }
  })
}

/** Sets `signs` to one way of swapping after the other; the first is none at all. */
function* allSwaps(signs: Int8Array, random: Random, differences: number): Generator<void> {
  if (signs.length <= exhaustiveRounds) {
    // The first round stays: to swap all of them changes no absolute value.
    for (let way = 0; way < 2 ** (signs.length - 1); way++) {
      for (let n = 1; n < signs.length; n++) signs[n] = (way >>> (n - 1)) & 1 ? -1 : 1
      yield
    }
    return
  }
  yield
  const count = Math.max(leastSwaps, Math.min(randomSwaps, Math.floor(mostWork / differences)))
  for (let way = 0; way < count; way++) {
    for (let n = 0; n < signs.length; n++) signs[n] = random() < 0.5 ? -1 : 1
    yield
  }
}
