import { parseArgs } from 'node:util'
import { VarveError } from 'varve'
import { findScenarios, scenarioList } from './find-scenarios.js'
import { runScenario, type ScenarioOutcome } from './scenario.js'

const help = `usage: node test/scenarios/bin/run-scenarios.js [--json] [--list] [NAME…]

Runs the named scenarios (all by default) on this host's KVM with a real Firecracker, and prints what each found.
--list names them. One that does not apply to this Firecracker says why. Exit status: 0 all hold, 2 usage, 5 one does not hold.`

/** Gives the exit status. */
export async function runScenarios(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv)
  if (values.help === true || values.list === true) {
    process.stdout.write(`${values.list === true ? scenarioList() : help}\n`)
    return 0
  }
  const outcomes: ScenarioOutcome[] = []
  for (const scenario of findScenarios(positionals)) {
    const outcome = await runScenario(scenario)
    outcomes.push(outcome)
    if (values.json !== true) process.stdout.write(`${render(outcome)}\n`)
  }
  if (values.json === true) process.stdout.write(`${JSON.stringify(outcomes, null, 2)}\n`)
  return outcomes.every(({ ok, notApplicable }) => ok || notApplicable !== undefined) ? 0 : 5
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        json: { type: 'boolean' },
        list: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new VarveError('USAGE', (error as Error).message, { cause: error, remedy: 'see --help' })
  }
}

function render({ name, claim, ok, ms, facts, error, notApplicable }: ScenarioOutcome): string {
  const status = notApplicable !== undefined ? 'n/a   ' : ok ? 'ok    ' : 'FAILED'
  return [
    `${status} ${name}  ${Math.round(ms)} ms`,
    `       ${claim}`,
    ...(notApplicable === undefined ? [] : [`       does not apply: ${notApplicable}`]),
    ...Object.entries(facts ?? {}).map(([fact, value]) => `       ${fact}: ${JSON.stringify(value)}`),
    ...(error === undefined ? [] : [error.replaceAll(/^/gm, '       ')]),
  ].join('\n')
}
