import { fileURLToPath } from 'node:url'
import { openNestedLab, type ScenarioOutcome, scenarios } from '@varve/lab'
import { beforeAll, expect, test } from 'vitest'

/** Opening may fetch and build everything; each scenario takes some ten seconds where instructions are emulated. */
const openTimeoutMs = 600_000
const runTimeoutMs = 420_000

let outcomes: readonly ScenarioOutcome[]
beforeAll(async () => {
  await using lab = await openNestedLab()
  const run = await lab.run({
    script: fileURLToPath(new URL('nested-lab/scenarios.mjs', import.meta.url)),
    timeoutMs: runTimeoutMs,
    onOutput: (text) => process.stderr.write(`  nested: ${text}`),
  })
  expect(run.exitCode, run.stderr).toBe(0)
  outcomes = run.result as readonly ScenarioOutcome[]
}, openTimeoutMs + runTimeoutMs)

test.each(scenarios.map(({ name, claim }) => [name, claim] as const))('%s: %s', (name) => {
  const outcome = outcomes.find((it) => it.name === name)
  expect(outcome?.error).toBeUndefined()
  expect(outcome?.ok).toBe(true)
})
