/** Numbers from 0 up to but without 1. */
export type Random = () => number

/**
 * The same numbers for the same seed, on any machine: so that a plan can be continued and an interval
 * computed again. Mulberry32 (T. Ettinger, public domain): 2^32 states, enough to shuffle and
 * resample, of no use for secrets.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Each order is as likely as any other (Fisher and Yates; Knuth, TAOCP 3.4.2 P). */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items]
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[order[last], order[other]] = [order[other] as T, order[last] as T]
  }
  return order
}
