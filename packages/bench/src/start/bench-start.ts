// How long the command, the SDK and the helper processes take to start, against an empty Node (`node -e 0`).
// `npm run bench:start [-- --rounds N] [--before CHECKOUT] [--node FILE]...`; build the checkout first. All
// cases of all sides take turns within a round. Raw rows go to standard output as JSON lines, the first one
// describes the run; a table of medians goes to standard error.
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { inCheckout } from '../common/checkout.js'
import { turned } from '../common/numbers.js'
import { casesOf, nodeVersion } from './cases.js'
import { type StartRow, summary } from './summary.js'

export async function benchStart(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '21' },
      before: { type: 'string' },
      node: { type: 'string', multiple: true, default: [process.execPath] },
    },
  })
  const rounds = Number(values.rounds)
  const sides = { now: inCheckout('.'), before: values.before }
  const cases = values.node.flatMap((node) =>
    Object.entries(sides).flatMap(([side, root]) => (root === undefined ? [] : casesOf(node, side, root))),
  )
  const print = (row: object) => void process.stdout.write(`${JSON.stringify(row)}\n`)
  print({
    benchmark: 'start-up',
    rounds,
    cpu: cpus()[0]?.model,
    cpus: cpus().length,
    kernel: release(),
    nodes: values.node.map(nodeVersion),
  })
  const rows: StartRow[] = []
  // The first round fills the page cache and compile caches, and is not in the rows.
  for (let round = 0; round <= rounds; round++)
    for (const { node, side, name, measure } of turned(cases, round)) {
      const times = await measure()
      if (round > 0) rows.push({ round, node, side, case: name, ...times })
    }
  for (const row of rows) print(row)
  process.stderr.write(`${summary(rows)}\n`)
}
