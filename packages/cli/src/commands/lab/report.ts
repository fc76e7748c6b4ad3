import { dirname } from 'node:path'
import { positionals, stringOption } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadLab } from '../../lab.js'

export const command: Command = {
  usage: 'usage: varve lab report DIR|FILE [--out DIR] [--json]',
  options: { out: { type: 'string' } },
  help: `
  DIR         where varve lab run wrote: its rows.jsonl is read
  FILE        a file of experiment rows
  --out DIR   where report.html and rows.csv go, default next to the rows

Makes the report again from the rows alone, also for an experiment that is not finished, or that ran
on another machine.

Examples:
  varve lab report reports/micro
  varve lab report other-machine.jsonl --out .`,
  run: async (context) => {
    const [place] = positionals(context, ['DIR'])
    const { readRows, rowsPathOf, writeReport } = await loadLab()
    const path = rowsPathOf(place)
    const rows = await readRows(path)
    const written = writeReport(rows, stringOption(context.values, 'out') ?? dirname(path))
    const { report, csv, summary } = written
    if (context.json)
      return context.printJson({ experiment: rows.header.experiment, rows: path, report, csv })
    context.print(`${summary}\n\nReport: ${report}`)
  },
}
