import { join } from 'node:path'
import type { Row, RunMessage } from '@varve/lab'
import { VarveError } from 'varve'
import { integerOption, listOption, positionals, stringOption } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadLab } from '../../lab.js'
import { duration } from '../../pace.js'
import { oneOf } from '../../restore-options.js'
import { count } from '../../text.js'

/** Cells take a second or two; this often is enough to see that it goes on. */
const progressEveryMs = 5000

export const command: Command = {
  usage: 'usage: varve lab run NAME|FILE [--out DIR] [--rounds N] [--only FACTOR=VALUE,…] [options]',
  options: {
    out: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string', multiple: true },
    lab: { type: 'string' },
  },
  help: `
  NAME                  an experiment that comes with Varve: varve lab ls
  FILE                  your own experiment: a module that exports one (.js, .mjs, or .ts with Node
                        22.18). Write a path with a slash or with such an ending; see
                        docs/guides/experiments.md
  --out DIR             where rows.jsonl, report.html and rows.csv go, default reports/NAME
  --rounds N            how often each cell is measured; default: as the experiment says
  --only FACTOR=VALUE,… only these values of a factor, and its baseline; may be given again for
                        another factor
  --lab native|nested   default: native if the experiment's guest runs on this machine's KVM

Measures every cell of the experiment once a round, each round in another order. Interrupt it with
Ctrl-C; run the same command again to resume: finished cells are kept. Rows of another plan, or from
another environment (kernel, CPU, disk, read-ahead, …), are never mixed: run refuses.
Times from the nested lab are not speeds. Its page counts are exact; counts of faults and bytes vary
from run to run if a set is brought alongside the guest.

Examples:
  varve lab run quick
  varve lab run micro --only memoryMib=512 --only setMib=24 --rounds 5 --out reports/micro-24
  varve lab run ./my-experiment.mjs --json`,
  run: async (context) => {
    const [name] = positionals(context, ['NAME'])
    const { values, signal, json } = context
    const wanted = stringOption(values, 'lab')
    const lab = wanted === undefined ? {} : { lab: oneOf(['native', 'nested'], 'lab', wanted) }
    const only = selection(listOption(values, 'only'))
    const rounds = integerOption(values, 'rounds')
    const { checkedRounds, findExperiment, readRows, runExperiment, writeReport } = await loadLab()
    const found = await findExperiment(name)
    const out = stringOption(values, 'out') ?? join('reports', found.experiment.name)
    const done = await runExperiment(found, {
      directory: out,
      only,
      ...lab,
      ...(rounds === undefined ? {} : { rounds: checkedRounds(rounds) }),
      signal,
      onMessage: progress(context.say, found.experiment.name),
    })
    const rows = await readRows(done.rowsPath)
    const written = writeReport(rows, out)
    const wrong = rows.cells.filter(({ correct }) => !correct)
    const result = {
      experiment: found.experiment.name,
      lab: done.lab,
      cells: rows.cells.length,
      wrong: wrong.length,
      rows: done.rowsPath,
      report: written.report,
      csv: written.csv,
    }
    if (json) context.printJson(result)
    else {
      context.print(`${written.summary}\n\nReport: ${written.report}\nRows:   ${done.rowsPath}`)
      if (done.lab === 'nested')
        context.say('Measured in the nested lab: times are not speeds; page counts are exact.')
    }
    if (wrong.length > 0)
      throw new VarveError(
        'LAB_FAILED',
        `${count(wrong.length, 'cell')} of ${rows.cells.length} failed or answered wrong: ${wrong[0]?.failure ?? 'a wrong answer'}`,
        { remedy: `see ${written.report}` },
      )
  },
}

/** `restore=file,paged` as what it selects. A comma with a space behind it belongs to a value. */
function selection(texts: readonly string[]): Record<string, string[]> {
  const only: Record<string, string[]> = {}
  for (const text of texts) {
    const equals = text.indexOf('=')
    if (equals < 1) throw new VarveError('USAGE', `--only ${text} is not FACTOR=VALUE,…`)
    const factor = text.slice(0, equals)
    only[factor] = [...(only[factor] ?? []), ...text.slice(equals + 1).split(/,(?! )/)]
  }
  return only
}

function progress(say: (text: string) => void, name: string) {
  let saidAt = Number.NEGATIVE_INFINITY
  return (message: Exclude<RunMessage, Row>) => {
    if (message.kind === 'say') return say(`${name}: ${message.text}`)
    const now = performance.now()
    if (now - saidAt < progressEveryMs) return
    saidAt = now
    const { done, total, round, rounds, cell, leftMs } = message
    const left = leftMs === null ? '' : `, ${duration(leftMs / 1000)} left`
    say(`${name}: round ${round} of ${rounds}, ${done} of ${total} cells${left}: ${cell}`)
  }
}
