/** The result of a run for people: a row for each kind of action, then each failure. */
export function showResult({ seed, ms, counts, pages, killed, snapshots, expected, failures, logs }) {
  const rows = Object.entries(counts).sort(([a], [b]) => a.localeCompare(b))
  for (const [action, { done, skipped, lawful, failed, ms: spent }] of rows) {
    const others = Object.entries(lawful).map(([code, count]) => `${count} ${code}`)
    const mean = Math.round(spent / Math.max(1, done + skipped + failed))
    console.log(
      `${action.padEnd(11)} ${String(done).padStart(5)} done ${String(skipped).padStart(4)} skipped ${String(failed).padStart(3)} failed ${String(mean).padStart(6)} ms  ${others.join(', ')}`,
    )
  }
  console.log(
    `${pages} pages verified, ${killed} workers killed, ${snapshots} tags at the end, ${expected} of them certain; ${(ms / 1000).toFixed(0)} s`,
  )
  for (const { worker, seed: own, what, last = [] } of failures) {
    console.log(`\nFAILED ${worker === undefined ? '' : `${worker} (seed ${own}) `}${what}`)
    for (const line of last) console.log(`    ${line}`)
  }
  console.log(`\nseed ${seed}: ${failures.length} failures${logs === null ? '' : `; logs in ${logs}`}`)
}
