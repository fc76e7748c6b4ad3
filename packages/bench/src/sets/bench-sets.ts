// How long an operation on page sets of a 16 GiB guest (4 M pages) takes, for sets from the worst to the
// usual, and alongside it the same by one merge over the runs, without bitmaps. `npm run bench:sets [--
// rounds]`. Raw rows, one for each operation and pair of sets with the times of all rounds in order, go to
// standard output as JSON lines; medians to standard error.
import {
  atLeast,
  clip,
  complement,
  equals,
  intersect,
  mergeGaps,
  minus,
  type PageSet,
  union,
  unionAll,
} from 'varve/working-sets'
import { thousandths } from '../common/numbers.js'
import { byRuns } from './by-runs.js'
import { pairsOf } from './sample-sets.js'

const pages = 2 ** 22
/** Rounds before, in which the JIT still compiles; they are not in the rows. */
const warmUps = 3

interface Case {
  readonly operation: string
  readonly sets: string
  readonly run: () => PageSet
  runs: number
  readonly ms: number[]
}

export async function benchSets([given]: readonly string[]): Promise<void> {
  const rounds = Number(given ?? 15)
  const pairs = pairsOf(pages)
  const cases = Object.entries(pairs).flatMap(([sets, pair]) => casesOf(sets, pair))
  for (let round = 1 - warmUps; round <= rounds; round++)
    for (const one of cases) {
      const from = performance.now()
      one.runs = one.run().starts.length
      if (round > 0) one.ms.push(thousandths(performance.now() - from))
    }
  for (const { operation, sets, runs, ms } of cases)
    process.stdout.write(`${JSON.stringify({ operation, sets, runsOfResult: runs, ms })}\n`)
  process.stderr.write(`\n${table(cases, Object.keys(pairs), rounds)}\n`)
}

function casesOf(sets: string, [a, b]: readonly [PageSet, PageSet]): Case[] {
  process.stderr.write(
    `${sets}: ${a.starts.length} and ${b.starts.length} runs, ${a.pages} and ${b.pages} pages\n`,
  )
  const one = (operation: string, run: () => PageSet): Case => ({ operation, sets, run, runs: 0, ms: [] })
  const pairwise = Object.entries({ union, intersect, minus }).flatMap(([operation, run]) => {
    const reference = byRuns[operation as keyof typeof byRuns]
    if (!equals(run(a, b), reference(a, b)))
      throw new Error(`${operation} of ${sets} differs from the reference`)
    return [one(operation, () => run(a, b)), one(`${operation}, by runs`, () => reference(a, b))]
  })
  const lists = [
    [2, [a, b, a]],
    [4, [a, b, a, b, a, b, a, b]],
  ] as const
  return [
    ...pairwise,
    one('clip', () => clip(a, 1, pages - 2)),
    one('complement', () => complement(a, pages)),
    one('mergeGaps 32', () => mergeGaps(a)),
    one('mergeGaps 0', () => mergeGaps(a, 0)),
    ...lists.flatMap(([k, list]) => [
      one(`atLeast ${k} of ${list.length}`, () => atLeast(k, list)),
      one(`unionAll ${list.length}`, () => unionAll(list)),
    ]),
  ]
}

function table(cases: readonly Case[], names: readonly string[], rounds: number): string {
  const operations = [...new Set(cases.map(({ operation }) => operation))]
  const text = (ms: number | undefined) => (ms === undefined ? '–' : ms < 10 ? ms.toFixed(2) : ms.toFixed(0))
  const lines = names.map((sets) => {
    const cells = operations.map((operation) => {
      const found = cases.find((one) => one.operation === operation && one.sets === sets)
      const row = [...(found?.ms ?? [])].sort((x, y) => x - y)
      return `${text(row[Math.floor(rounds / 2)])} [${text(row[0])}–${text(row[rounds - 1])}]`
    })
    return `| ${sets} | ${cells.join(' | ')} |`
  })
  return [
    `median [least–most] in ms, n = ${rounds}`,
    '',
    `| sets | ${operations.join(' | ')} |`,
    `|---|${operations.map(() => '---|').join('')}`,
    ...lines,
  ].join('\n')
}
