/** One last line that any script can read: `N passed, N failed, N skipped`. Errors outside tests count as failures. */
export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) counts.failed++
      for (const test of module.children.allTests()) counts[test.result().state]++
    }
    process.once('exit', () =>
      console.log(
        `${counts.passed} passed, ${counts.failed + counts.pending} failed, ${counts.skipped} skipped`,
      ),
    )
  }
}
