import type { ActionCounts, CrewOptions } from './crew.js'
import type { Settled } from './settle.js'

export interface StressResult extends Settled, CrewOptions {
  readonly seconds: number
  readonly ms: number
  readonly counts: Readonly<Partial<Record<string, ActionCounts>>>
  /** Verified. */
  readonly pages: number
  /** Workers. */
  readonly killed: number
  /** Where they were kept, if something failed. */
  readonly logs: string | null
}

/** The result of a run for people: a row for each kind of action, then each failure. */
export function showResult(result: StressResult): void {
  const { seed, ms, counts, pages, killed, snapshots, expected, failures, logs } = result
  const rows = Object.entries(counts).sort(([a], [b]) => a.localeCompare(b))
  for (const [action, of] of rows) {
    if (of === undefined) continue
    const { done, skipped, lawful, failed, ms: spent } = of
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
