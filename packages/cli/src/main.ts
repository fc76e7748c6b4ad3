import { parseArgs } from 'node:util'
import { VarveError } from 'varve'
import type { Command, OptionTable, OptionValues } from './command.js'
import { createOutput } from './output.js'
import { exitStatusHelp, verbs } from './verbs.js'

const commonOptions: OptionTable = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } }

/** Runs one command line and gives the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json')
  const output = createOutput()
  const interrupt = new AbortController()
  let asked = 0
  const onSignal = () => {
    // The first Ctrl-C cleans up and ends; a second one does not wait for that.
    if (asked++ > 0) process.exit(130)
    interrupt.abort(new VarveError('INTERRUPTED', 'interrupted'))
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal)
  try {
    return await dispatch(argv, json, output, interrupt.signal)
  } catch (error) {
    const failure = interrupt.signal.aborted
      ? new VarveError('INTERRUPTED', 'interrupted', { cause: error })
      : error
    output.fail(failure, json)
    return failure instanceof VarveError ? failure.exitCode : 1
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal)
  }
}

async function dispatch(
  argv: readonly string[],
  json: boolean,
  output: ReturnType<typeof createOutput>,
  signal: AbortSignal,
): Promise<number> {
  const [first, ...rest] = argv
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    const topic = first === 'help' ? rest[0] : undefined
    output.print(topic === undefined ? overview() : help(topic, await loadVerb(topic)))
    return first === undefined ? 2 : 0
  }
  if (first === '--version' || first === 'version') {
    const { version } = await import('./version.js')
    if (json) output.printJson({ varve: version })
    else output.print(`varve ${version}`)
    return 0
  }
  const command = await loadVerb(first)
  const { values, positionals } = parse(first, command, rest)
  if (values.help === true) {
    output.print(help(first, command))
    return 0
  }
  await command.run({ values, positionals, json, signal, ...output })
  return 0
}

async function loadVerb(verb: string): Promise<Command> {
  const entry = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
  if (!entry) throw new VarveError('USAGE', `no verb ${JSON.stringify(verb)}`, { remedy: 'varve help' })
  return (await entry.load()).command
}

function parse(
  verb: string,
  command: Command,
  args: readonly string[],
): { values: OptionValues; positionals: string[] } {
  try {
    return parseArgs({
      args: [...args],
      options: { ...command.options, ...commonOptions },
      allowPositionals: true,
    }) as { values: OptionValues; positionals: string[] }
  } catch (cause) {
    throw new VarveError('USAGE', (cause as Error).message, { cause, remedy: `varve help ${verb}` })
  }
}

function overview(): string {
  const lines = Object.entries(verbs).map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`)
  return [
    'usage: varve VERB [options]',
    '',
    ...lines,
    '',
    'varve help VERB explains one. All take --json.',
    '',
    exitStatusHelp,
  ].join('\n')
}

function help(verb: string, command: Command): string {
  return [
    `varve ${verb}: ${verbs[verb]?.summary}`,
    '',
    command.usage,
    '',
    command.help.trim(),
    '',
    exitStatusHelp,
  ].join('\n')
}
