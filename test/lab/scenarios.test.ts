import { runScenario, scenarios } from '@varve/scenarios'
import { expect, test } from 'vitest'

// The same claims run in the nested lab: ../nested-lab/scenarios.test.ts.
test.each(scenarios.map((scenario) => [scenario.name, scenario.claim, scenario] as const))(
  '%s: %s',
  async (_name, _claim, scenario) => {
    const outcome = await runScenario(scenario)
    expect(outcome.error).toBeUndefined()
    expect(outcome.ok).toBe(true)
  },
)
