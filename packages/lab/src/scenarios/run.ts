import { parseArgs } from 'node:util'
import { VarveError } from 'varve'
import { scenarios } from './all-scenarios.js'
import { runScenario, type Scenario, type ScenarioOutcome } from './scenario.js'

const help = `usage: node packages/lab/bin/run-scenarios.js [--json] [--list] [NAME…]

Runs the named scenarios (all by default) on this host's KVM with a real Firecracker, and prints what each found.
--list names them. Exit status: 0 all hold, 2 usage, 5 one does not hold.`

/** Gives the exit status. */
export async function runScenarios(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv)
  if (values.help === true || values.list === true) {
    process.stdout.write(`${values.list === true ? list() : help}\n`)
    return 0
  }
  const outcomes: ScenarioOutcome[] = []
  for (const scenario of chosen(positionals)) {
    const outcome = await runScenario(scenario)
    outcomes.push(outcome)
    if (values.json !== true) process.stdout.write(`${render(outcome)}\n`)
  }
  if (values.json === true) process.stdout.write(`${JSON.stringify(outcomes, null, 2)}\n`)
  return outcomes.every(({ ok }) => ok) ? 0 : 5
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

function chosen(names: readonly string[]): readonly Scenario[] {
  if (names.length === 0) return scenarios
  return names.map((name) => {
    const found = scenarios.find((it) => it.name === name)
    if (found === undefined)
      throw new VarveError('USAGE', `no scenario named ${name}`, { remedy: 'list them: --list' })
    return found
  })
}

const list = () => scenarios.map(({ name, claim }) => `${name.padEnd(22)} ${claim}`).join('\n')

function render({ name, claim, ok, ms, facts, error }: ScenarioOutcome): string {
  return [
    `${ok ? 'ok    ' : 'FAILED'} ${name}  ${Math.round(ms)} ms`,
    `       ${claim}`,
    ...Object.entries(facts ?? {}).map(([fact, value]) => `       ${fact}: ${JSON.stringify(value)}`),
    ...(error === undefined ? [] : [error.replaceAll(/^/gm, '       ')]),
  ].join('\n')
}
