/** Two looks at the clock that are further apart than this had another program between them. */
const longestLookNs = 100_000n
/** On a machine that is busy all the time, what there is has to do. */
const mostLooks = 1_000_000

/**
 * The host's wall clock in nanoseconds. `Date.now()` has milliseconds: this waits, one as a rule, until it
 * moves on between two looks that follow each other at once, and counts with the monotonic clock from there.
 */
export function wallClock(): () => bigint {
  let before = process.hrtime.bigint()
  let last = Date.now()
  for (let looks = 0; ; looks++) {
    const now = Date.now()
    const after = process.hrtime.bigint()
    if (now !== last && (after - before < longestLookNs || looks > mostLooks)) {
      const base = BigInt(now) * 1_000_000n
      return () => base + (process.hrtime.bigint() - after)
    }
    before = after
    last = now
  }
}
