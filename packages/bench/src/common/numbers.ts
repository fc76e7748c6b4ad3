import { nearestRank } from '@varve/lab/testing'

export const hundredths = (value: number): number => Math.round(value * 100) / 100
export const tenths = (value: number): number => Math.round(value * 10) / 10
export const thousandths = (value: number): number => Number(value.toFixed(3))

/** One of the values: the smallest that at least half of them are not above. */
export const middle = (values: readonly number[]): number => nearestRank(values, 0.5)

/** The names in their order, beginning with another one each round. */
export function turned<T>(names: readonly T[], round: number): T[] {
  const by = round % Math.max(1, names.length)
  return [...names.slice(by), ...names.slice(0, by)]
}

/** The values in groups of one key, groups in the order in which they come up. */
export function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const key = keyOf(value)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [value])
    else group.push(value)
  }
  return groups
}
