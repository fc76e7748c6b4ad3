/**
 * The host's wall clock in nanoseconds. `Date.now()` has milliseconds: this waits, at most one, until it
 * moves on, and then counts with the monotonic clock from there.
 */
export function wallClock(): () => bigint {
  const before = Date.now()
  let now = before
  while (now === before) now = Date.now()
  const start = process.hrtime.bigint()
  const base = BigInt(now) * 1_000_000n
  return () => base + (process.hrtime.bigint() - start)
}
