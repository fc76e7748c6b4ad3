import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { relative } from 'node:path'

/** Longer than any single test may take: twenty minutes. */
const silenceMs = Number(process.env.VARVE_TEST_SILENCE_MS ?? 1_200_000)

/**
 * Leaves for scripts/test.mjs how many tests passed, failed and were skipped, and a line on each failure.
 * Errors outside tests count as failures. A test that waits without letting its timers run, in waitpid for
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
    const counts = { passed: 0, skipped: 0 }
    const failures = unhandledErrors.map((it) => lineOn('outside of tests', [it]))
    for (const module of modules) {
      const file = relative(process.cwd(), module.moduleId)
      if (module.state() === 'failed' && module.errors().length > 0)
        failures.push(lineOn(file, module.errors()))
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result()
        if (state in counts) counts[state]++
        else failures.push(lineOn(`${file} > ${test.fullName}`, errors))
      }
    }
    writeFileSync(
      process.env.VARVE_TEST_SUMMARY,
      JSON.stringify({ ...counts, failed: failures.length, failures }),
    )
  }
}

const lineOn = (place, errors = []) =>
  `${place}: ${errors[0]?.message ?? 'did not end'}`.replaceAll('\n', ' ')

function children() {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
}
