/** One moment: numbers by the name of their gauge; what is no number is not judged. */
export interface Moment {
  readonly done: number
  readonly [gauge: string]: unknown
}

export interface Verdict {
  readonly name: string
  readonly first: number
  readonly half: number
  readonly last: number
  readonly rise: number
  readonly allowed: number
  readonly flat: boolean
}

type Point = readonly [x: number, y: number]

/**
 * How much each gauge may rise over the second half of a phase. A count may differ by one, because samples
 * are momentary.
 */
function allowedRise(name: string, mean: number): number {
  // Node's heap and malloc breathe by some MiB; a leak of 2 KiB a restore shows within 5,000.
  if (name.endsWith('rssMib')) return Math.max(8, mean * 0.1)
  return 1
}

const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** The rise of a straight line through the points (least squares), from the first to the last of them. */
export function riseOf(points: readonly Point[]): number {
  const [meanX, meanY] = [meanOf(points.map(([x]) => x)), meanOf(points.map(([, y]) => y))]
  let [above, below] = [0, 0]
  for (const [x, y] of points) {
    above += (x - meanX) * (y - meanY)
    below += (x - meanX) ** 2
  }
  const [first, last] = [points[0], points.at(-1)]
  return below === 0 || first === undefined || last === undefined ? 0 : (above / below) * (last[0] - first[0])
}

const hundredths = (value: number): number => Math.round(value * 100) / 100

/** What a gauge was in the first fifth of the samples and in the last, and at most in all of them. */
export interface Fifths {
  readonly name: string
  readonly first: number
  readonly last: number
  readonly most: number
  readonly allowed: number
  readonly flat: boolean
}

const numericGauges = (sample: Moment): string[] =>
  Object.keys(sample).filter((name) => typeof sample[name] === 'number' && name !== 'done')

/** For each gauge: whether the mean of its last fifth is above that of its first by no more than it may. */
export function compareFifths(samples: readonly Moment[]): Fifths[] {
  const fifth = Math.max(1, Math.floor(samples.length / 5))
  return numericGauges(samples[0] ?? { done: 0 }).map((name) => {
    const values = samples.map((sample) => sample[name] as number)
    const [first, last] = [meanOf(values.slice(0, fifth)), meanOf(values.slice(-fifth))]
    const allowed = allowedRise(name, first)
    return {
      name,
      first: hundredths(first),
      last: hundredths(last),
      most: Math.max(...values),
      allowed: hundredths(allowed),
      flat: last - first <= allowed,
    }
  })
}

/** For each gauge: how it began, stood at half and ended, and whether its second half is flat. */
export function judge(samples: readonly Moment[]): Verdict[] {
  const [first, middle, last] = [samples[0], samples[Math.floor(samples.length / 2)], samples.at(-1)]
  if (first === undefined || middle === undefined || last === undefined) return []
  const half = samples.slice(Math.floor(samples.length / 2))
  return numericGauges(first).map((name) => {
    const valueIn = (moment: Moment) => moment[name] as number
    const points = half.map((it): Point => [it.done, valueIn(it)])
    const [rise, allowed] = [riseOf(points), allowedRise(name, meanOf(half.map(valueIn)))]
    return {
      name,
      first: valueIn(first),
      half: valueIn(middle),
      last: valueIn(last),
      rise: hundredths(rise),
      allowed: hundredths(allowed),
      flat: rise <= allowed,
    }
  })
}
