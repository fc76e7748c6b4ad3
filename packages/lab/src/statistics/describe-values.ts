import { median } from './median.js'
import { nearestRank } from './quantile.js'

export interface Described {
  readonly n: number
  readonly min: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
  /** The middle, between the two middle values if their number is even; `p50` is the lower of those. */
  readonly median: number
}

/** All values, outliers too; undefined for none. */
export function describeValues(values: readonly number[]): Described | undefined {
  if (values.length === 0) return undefined
  const rank = (p: number) => nearestRank(values, p)
  return {
    n: values.length,
    min: rank(0),
    p50: rank(0.5),
    p90: rank(0.9),
    p99: rank(0.99),
    max: rank(1),
    median: median(values),
  }
}
