import { arch } from 'node:os'
import { loadNow, machineText, thisMachine } from '../common/machine.js'
import { groupBy, middle } from '../common/numbers.js'
import { type FaultRow, isOnDemand } from './fault-rows.js'

type Field = 'pagesPerS' | 'mibPerS' | 'p50Us' | 'p99Us'

export interface FaultsSetting {
  readonly rounds: number
  readonly pages: number
}

/** What goes into docs/results/faults.md: the machine and the table. */
export function faultsParts(rows: readonly FaultRow[], { rounds, pages }: FaultsSetting) {
  const environment = {
    ...thisMachine(),
    arch: arch(),
    load: loadNow(),
    rounds,
    pages,
  }
  const machine = `${rounds} rounds, ${pages.toLocaleString('en')} pages of one layer. ${machineText()}. Raw rows: [faults.jsonl](faults.jsonl).`
  return { environment, text: { machine, table: table(rows) } }
}

function table(rows: readonly FaultRow[]): string {
  const cells = [...groupBy(rows, ({ what, cpus: on }) => `${what}|${on}`).values()]
  return [
    '| what | CPUs | handler | pages/s, MiB/s | p50 µs | p99 µs | of `example`, or of the loop in C | of `tight` | p99 of `example` |',
    '|---|---|---|---:|---:|---:|---:|---:|---:|',
    ...cells.flatMap(linesOf),
  ].join('\n')
}

/** The rows of one kind of faults on one setting of CPUs: a line for each handler. */
function linesOf(cell: readonly FaultRow[]): string[] {
  return [...groupBy(cell, ({ handler }) => handler)].map(([name, of]) => {
    const [{ what, cpus: on }] = of as [FaultRow]
    const median = (field: Field) => {
      const values = of.flatMap(({ measured }) => measured[field] ?? [])
      return values.length === 0 ? undefined : middle(values)
    }
    /** The median of the rounds' ratios to another handler; only the page server has one. */
    const over = (reference: string, field: Field) => {
      if (!name.startsWith('page server')) return ''
      const ratios = of.flatMap(({ round, measured }) => {
        const other = cell.find((row) => row.round === round && row.handler === reference)?.measured[field]
        const mine = measured[field]
        return mine === undefined || other === undefined ? [] : [mine / other]
      })
      return ratios.length === 0 ? '' : `${middle(ratios).toFixed(2)}×`
    }
    const rate = isOnDemand(what) ? 'pagesPerS' : 'mibPerS'
    const [first, second] = isOnDemand(what) ? ['example', 'tight'] : [what, '']
    const columns = [
      what,
      on,
      name,
      median(rate)?.toLocaleString('en') ?? '',
      median('p50Us') ?? '',
      median('p99Us') ?? '',
      over(first, rate),
      over(second, rate),
      over(first, 'p99Us'),
    ]
    return `| ${columns.join(' | ')} |`
  })
}

/** The page where there is none yet. */
export const faultsPage = ({
  machine,
  table: rows,
}: Readonly<Record<string, string>>): string => `# Page server against C

\`npm run bench:faults\`. *On demand*: a client in C touches every page once in
random order; \`example\` is a handler in C written like Firecracker's example (poll, one message a read, the file mapped but not
touched before), \`tight\` the least a handler can do (sleeping reads of up to 64 messages, the file's pages in its page table before).
*Bulk*: everything by 2 MiB calls, from the page cache (\`bulk\`) and read past it (\`bulk-direct\`), against the same loop in C. One CPU: client and
server share it; two: each has its own. The page server brings aligned fours of pages as long as they prove useful; *single pages* is the same without (as while recording).
*Sparse*: each 13th page only, ascending, so that no neighbour is ever asked for; *second VM*: by a page server that has served a client before.
Medians; the ratios are medians of each round's. Every page is checked.

${machine}

${rows}
`
