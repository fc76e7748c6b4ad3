// `npm run bench:start`: how long the command, the SDK and the helper processes take to start, against an
// empty Node (`node -e 0`). All cases of all sides take turns within a round.
//   --rounds N     default 21
//   --before DIR   another checkout, to compare with; build it first
//   --node FILE    another Node; may come several times. Default: the one that runs this
//   --write        tables and raw rows into docs/results
//   --out DIR      into DIR        --rows FILE   raw rows only
// Tables of medians go to standard error.
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { inCheckout } from '../common/checkout.js'
import { turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { casesOf, nodeVersion } from './cases.js'
import { prepareFirstPages } from './first-pages.js'
import { type StartRow, startPage, summary } from './summary.js'

export async function benchStart(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '21' },
      before: { type: 'string' },
      node: { type: 'string', multiple: true, default: [process.execPath] },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds)
  using scratch = openScratch()
  const firstPages = prepareFirstPages(scratch)
  const sides = { now: inCheckout('.'), before: options.before }
  const cases = options.node.flatMap((node) =>
    Object.entries(sides).flatMap(([side, root]) =>
      root === undefined ? [] : casesOf(node, { side, root, firstPages }),
    ),
  )
  const rows: StartRow[] = []
  // The first round fills the page cache and compile caches, and is not in the rows.
  for (let round = 0; round <= rounds; round++) {
    if (round > 0) say(`round ${round} of ${rounds}`)
    for (const { node, side, name, measure } of turned(cases, round)) {
      const times = await measure()
      if (round > 0) rows.push({ round, node, side, case: name, ...times })
    }
  }
  const tables = summary(rows)
  process.stderr.write(`${tables}\n`)
  const environment = {
    benchmark: 'start-up',
    rounds,
    cpu: cpus()[0]?.model,
    cpus: cpus().length,
    kernel: release(),
    nodes: options.node.map(nodeVersion),
  }
  const where = `${environment.cpu}, ${environment.cpus} CPUs, Linux ${environment.kernel}, ${rounds} rounds. Raw rows: [start-up.jsonl](start-up.jsonl).`
  writeResults(
    {
      name: 'start-up',
      rows: [environment, ...rows],
      parts: { tables: `${where}\n\n${tables}` },
      newPage: startPage,
    },
    options,
  )
}
