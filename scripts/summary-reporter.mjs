import { writeFileSync } from 'node:fs'

/**
 * Leaves how many tests passed, failed and were skipped if scripts/test.mjs looks. Errors
 * outside tests count as failures.
 */
export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) counts.failed++
      for (const test of module.children.allTests()) counts[test.result().state]++
    }
    const { passed, failed, pending, skipped } = counts
    writeFileSync(
      process.env.VARVE_TEST_SUMMARY,
      JSON.stringify({ passed, failed: failed + pending, skipped }),
    )
  }
}
