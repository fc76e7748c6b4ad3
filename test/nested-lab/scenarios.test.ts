import { accessSync, constants } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openNestedLab } from '@varve/lab'
import { type ScenarioOutcome, scenarios } from '@varve/scenarios'
import { isVarveError } from 'varve'
import { beforeAll, expect, test } from 'vitest'

/**
 * Opening may fetch and build everything; then each scenario takes some seconds, all together three minutes,
 * and some ten more on a host without KVM, for those that need not be repeated elsewhere.
 */
const openTimeoutMs = 600_000
const runTimeoutMs = 1_200_000

/**
 * Those that scenarios.test.ts does not show natively on this machine, or that differ with the kind of KVM.
 */
const wanted = scenarios.filter(({ nativeIsEnough }) => nativeIsEnough !== true || !hasKvm())

function hasKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

let outcomes: readonly ScenarioOutcome[]
beforeAll(
  async () => {
    try {
      outcomes = await runInLab()
    } catch (error) {
      // An emulator that stands still (docs/guides/nested-lab.md, "Limits") says nothing about Varve: once
      // more, aloud. A scenario that fails is an outcome, not an error, and is never tried again.
      if (!isVarveError(error, 'TIMEOUT') && !isVarveError(error, 'LAB_FAILED')) throw error
      process.stderr.write(`\n  NESTED LAB STOOD STILL, trying once more in a new one: ${error.message}\n\n`)
      outcomes = await runInLab()
    }
  },
  openTimeoutMs + 2 * runTimeoutMs,
)

async function runInLab(): Promise<readonly ScenarioOutcome[]> {
  await using lab = await openNestedLab()
  const run = await lab.run({
    script: fileURLToPath(new URL('scenarios.mjs', import.meta.url)),
    args: wanted.map(({ name }) => name),
    timeoutMs: runTimeoutMs,
    onOutput: (text) => process.stderr.write(`  nested: ${text}`),
  })
  expect(run.exitCode, run.stderr).toBe(0)
  return run.result as readonly ScenarioOutcome[]
}

test.each(wanted.map(({ name, claim }) => [name, claim] as const))('%s: %s', (name) => {
  const outcome = outcomes.find((it) => it.name === name)
  expect(outcome?.error).toBeUndefined()
  expect(outcome?.ok).toBe(true)
})
