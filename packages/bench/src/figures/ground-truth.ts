// `npm run ground-truth`: each recorder against a guest that touches exactly known pages, natively and in the
// nested lab, which may change settings of its own kernel.
//   --write        page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
//   --no-nested    natively only
import { parseArgs } from 'node:util'
import { openNestedLab } from '@varve/lab'
import { type GroundTruthRow, runScenario, type ScenarioOutcome, scenarios } from '@varve/scenarios'
import { resultOptions, say, writeResults } from '../common/results.js'
import { groundTruthPage } from './ground-truth-page.js'
import { runInLab } from './in-lab.js'

const name = 'ground-truth'

export async function groundTruth(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { 'no-nested': { type: 'boolean' }, ...resultOptions },
  })
  const outcomes = [await natively()]
  if (options['no-nested'] !== true) outcomes.push(await nested())
  for (const { ok, error } of outcomes) if (!ok) throw new Error(error)
  const rows = outcomes.flatMap(({ facts }) => facts?.rows as GroundTruthRow[])
  const page = groundTruthPage(rows, outcomes[0]?.facts?.named as readonly number[])
  writeResults({ name, rows, parts: { page }, newPage: (parts) => `${parts.page}\n` }, options)
}

async function natively(): Promise<ScenarioOutcome> {
  say('natively')
  const scenario = scenarios.find((it) => it.name === name)
  if (scenario === undefined) throw new Error(`there is no scenario ${name}`)
  return runScenario(scenario)
}

async function nested(): Promise<ScenarioOutcome> {
  say('in the nested lab, about a minute')
  await using lab = await openNestedLab({ onProgress: say })
  const found = await runInLab(lab, 'scenarios.mjs', { args: [name], timeoutMs: 300_000 })
  const [outcome] = found as [ScenarioOutcome]
  return outcome
}
