// How long the command, the SDK and the helper processes take to start, against an empty Node (`node -e 0`).
// `npm run bench:start [-- --rounds N] [--before CHECKOUT] [--node FILE]...`; build first, the checkout too.
// All cases of all sides take turns within a round. Raw rows go to standard output as JSON lines, the first
// one describes the run; a table of medians goes to standard error.
import { cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { casesOf, nodeVersion } from './bench-start/cases.mjs'
import { summary } from './bench-start/summary.mjs'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '21' },
    before: { type: 'string' },
    node: { type: 'string', multiple: true, default: [process.execPath] },
  },
})
const rounds = Number(values.rounds)
const sides = { now: fileURLToPath(new URL('..', import.meta.url)), before: values.before }

const cases = []
for (const node of values.node)
  for (const [side, root] of Object.entries(sides))
    if (root !== undefined) cases.push(...casesOf(node, side, root))

const print = (row) => console.log(JSON.stringify(row))
print({
  benchmark: 'start-up',
  rounds,
  cpu: cpus()[0]?.model,
  cpus: cpus().length,
  kernel: release(),
  nodes: values.node.map(nodeVersion),
})
const rows = []
// The first round fills the page cache and compile caches, and is not in the rows.
for (let round = 0; round <= rounds; round++)
  for (const place of cases.keys()) {
    // Each round begins with another case, so that no case always follows the same one.
    const { node, side, name, measure } = cases[(place + round) % cases.length]
    const times = await measure()
    if (round > 0) rows.push({ round, node, side, case: name, ...times })
  }
for (const row of rows) print(row)
console.error(summary(rows))
