import { groupBy } from '../common/numbers.js'

/** Milliseconds until a process was ready, or over. */
export interface StartTimes {
  readonly ms: number
  /** Of an import, the import alone. */
  readonly importMs?: number
}

export interface StartRow extends StartTimes {
  readonly round: number
  /** Its version. */
  readonly node: string
  /** Which checkout. */
  readonly side: string
  readonly case: string
}

export const emptyNode = 'node -e 0'

/** A table of medians with the fastest and the slowest round, and each median against an empty Node's. */
export const summary = (rows: readonly StartRow[]): string =>
  [...groupBy(rows, ({ node }) => node)].map(([node, of]) => tableOf(node, of)).join('\n\n')

function tableOf(node: string, rows: readonly StartRow[]): string {
  const sides = [...groupBy(rows, ({ side }) => side).keys()]
  const cases = [...groupBy(rows, (row) => row.case).keys()]
  const cell = (name: string, side: string) => {
    const of = (wanted: string) => rows.filter((row) => row.case === wanted && row.side === side)
    const times = spread(of(name).map(({ ms }) => ms))
    const empty = spread(of(emptyNode).map(({ ms }) => ms))
    const imports = of(name).flatMap(({ importMs }) => importMs ?? [])
    const inner = imports.length === 0 ? '' : `; import alone ${shown(spread(imports))}`
    return `${shown(times)}, ${(times.median / empty.median).toFixed(2)}×${inner}`
  }
  return [
    `Node ${node.slice(1)}, ms: median [least–most], and times an empty Node`,
    '',
    `| case | ${sides.join(' | ')} |`,
    `|---|${sides.map(() => '---|').join('')}`,
    ...cases.map((name) => `| ${name} | ${sides.map((side) => cell(name, side)).join(' | ')} |`),
  ].join('\n')
}

export const startPage = ({ tables = '' }: Readonly<Record<string, string>>): string =>
  `# Start-up: the command, the SDK, the helpers\n\n${tables}\n`

interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

const shown = ({ median, least, most }: Spread) =>
  `${median.toFixed(0)} [${least.toFixed(0)}–${most.toFixed(0)}]`

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  return { median: at(Math.floor(sorted.length / 2)), least: at(0), most: at(sorted.length - 1) }
}
