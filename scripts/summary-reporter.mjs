import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** Longer than any single test may take: twenty minutes. */
const silenceMs = Number(process.env.VARVE_TEST_SILENCE_MS ?? 1_200_000)

/**
 * Leaves how many tests passed, failed and were skipped if scripts/test.mjs looks. Errors
 * outside tests count as failures. A test that waits without letting its timers run, in waitpid for
 * example, is out of reach of its own time limit: if no test ends for twenty minutes, this says which
 * files were running and kills the workers.
 */
export default class SummaryReporter {
  #running = new Set()
  #timer

  onTestModuleStart(module) {
    this.#running.add(module.moduleId)
    this.#listen()
  }

  onTestCaseResult() {
    this.#listen()
  }

  onTestModuleEnd(module) {
    this.#running.delete(module.moduleId)
    this.#listen()
  }

  #listen() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const files = [...this.#running].join(', ')
      console.error(`varve: no test has ended for ${silenceMs / 1000} s; stopped, while it ran ${files}`)
      for (const pid of children()) process.kill(pid, 'SIGKILL')
      process.exit(1)
    }, silenceMs)
    this.#timer.unref()
  }

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

function children() {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
}
