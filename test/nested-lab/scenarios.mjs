// Runs scenarios (those named, else all) inside the nested lab and leaves the outcomes as the result.
import { writeFileSync } from 'node:fs'
import { runScenario, scenarios } from '@varve/scenarios'

const outcomes = []
const wanted = process.argv.slice(2)
for (const scenario of scenarios) {
  if (wanted.length > 0 && !wanted.includes(scenario.name)) continue
  const outcome = await runScenario(scenario, 'nested')
  console.log(`${outcome.ok ? 'ok' : 'FAILED'} ${outcome.name} ${Math.round(outcome.ms)} ms`)
  outcomes.push(outcome)
}
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(outcomes))
