import { parseArgs } from 'node:util'
import { VarveError } from 'varve'
import type { Command, OptionTable, OptionValues } from './command.js'
import { candidatesWord } from './completion/candidates-word.js'
import { groupOverview, help, overview } from './help.js'
import { createOutput, type Output, type Streams } from './output.js'
import { findVerb, tasks } from './verbs.js'

const commonOptions: OptionTable = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } }

/** Runs one command line and gives the exit status. */
export async function main(argv: readonly string[], streams: Streams = process): Promise<number> {
  // What follows -- is another program's.
  const json = (argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv).includes('--json')
  const output = createOutput(streams)
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
  output: Output,
  signal: AbortSignal,
): Promise<number> {
  const [first, ...words] = argv
  if (
    first === undefined ||
    first === '--help' ||
    first === '-h' ||
    (first === 'help' && words.length === 0)
  ) {
    output.print(overview(tasks))
    return first === undefined ? 2 : 0
  }
  if (first === '--version' || first === 'version') {
    const { version } = await import('./version.js')
    if (json) output.printJson({ varve: version })
    else output.print(`varve ${version}`)
    return 0
  }
  // What the shells' scripts call: no verb for people.
  if (first === candidatesWord) {
    const { candidates } = await import('./completion/candidates.js')
    for (const line of await candidates(words)) output.print(line)
    return 0
  }
  const asksHelp = first === 'help'
  const found = findVerb(asksHelp ? words : argv)
  if (found === undefined) throw noVerb(asksHelp ? (words[0] as string) : first)
  const { name, entry, rest } = found
  if ('verbs' in entry) {
    const [next] = rest
    if (next !== undefined && next !== '--help' && next !== '-h') throw noVerb(`${name} ${next}`, name)
    output.print(groupOverview(entry.verbs, name))
    return next === undefined && !asksHelp ? 2 : 0
  }
  const { command } = await entry.load()
  const { values, positionals } = asksHelp ? helpAsked : parse(name, command, rest)
  if (values.help === true) {
    output.print(help(name, entry, command))
    return 0
  }
  return (await command.run({ values, positionals, json, signal, ...output })) ?? 0
}

const helpAsked: Parsed = { values: { help: true }, positionals: [] }

const noVerb = (words: string, group?: string) =>
  new VarveError('USAGE', `no verb ${JSON.stringify(words)}`, {
    remedy: group === undefined ? 'varve help' : `varve help ${group}`,
  })

interface Parsed {
  readonly values: OptionValues
  readonly positionals: readonly string[]
}

function parse(verb: string, command: Command, args: readonly string[]): Parsed {
  try {
    return parseArgs({
      args: [...args],
      options: { ...command.options, ...commonOptions },
      allowPositionals: true,
    }) as Parsed
  } catch (cause) {
    throw new VarveError('USAGE', (cause as Error).message, { cause, remedy: `varve help ${verb}` })
  }
}
