/**
 * Nearest rank: the smallest value such that at least the share `p` (above 0, up to 1) of all values are not
 * above it. Always one of the values, so a p99 of 20 runs is honestly their worst. NaN of an empty list.
 */
export function nearestRank(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  // The smallest excess: 0.07 × 100 is 7.000000000000001 in floating point, and its rank is 7.
  const rank = Math.ceil(p * sorted.length - 1e-9)
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1] ?? Number.NaN
}
