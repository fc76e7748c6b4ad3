// What rows of bench:restore come to.
import { nearestRank } from '@varve/lab/testing'
import { groupBy, middle, tenths } from '../common/numbers.js'
import { placeOf, type RestoreRow } from './rows.js'

/** A contender in one place and cache state. */
export interface SummaryLine {
  readonly place: string
  readonly cache: string
  readonly contender: string
  readonly rounds: number
  readonly firstMs: number | undefined
  readonly lastMs: number
  readonly lastP99Ms: number
  readonly overheadMs: number | undefined
  /** The median of each round's ratio to vanilla in the same round and cache state. */
  readonly ofVanilla: number | undefined
  readonly rssMib: number | undefined
  readonly readMib: number | undefined
}

type RowWithOverhead = RestoreRow & { readonly overheadMs?: number }

/**
 * Overhead of a row: its request to the last page, less the same pass in a warm VM (its floor): the median of
 * all contenders in the same place and cache state. Cold and warm are measured one after the other, between
 * which a machine's speed can change.
 */
function withOverhead(rows: readonly RestoreRow[]): RowWithOverhead[] {
  const floorOf = (row: RestoreRow) => `${placeOf(row)}|${row.cache}`
  const floors = new Map(
    [...groupBy(rows, floorOf)].map(([key, group]) => [
      key,
      middle(group.flatMap(({ warmPassMs }) => warmPassMs ?? [])),
    ]),
  )
  return rows.map((row) =>
    row.warmPassMs === undefined
      ? row
      : { ...row, overheadMs: row.lastMs - (floors.get(floorOf(row)) ?? Number.NaN) },
  )
}

/** Vanilla's request to the last page, by place, cache state and round. */
function vanillaOf(rows: readonly RestoreRow[]): (row: RestoreRow) => number | undefined {
  const key = (row: RestoreRow) => `${placeOf(row)}|${row.cache}|${row.round}`
  const last = new Map(
    rows.filter(({ contender }) => contender === 'vanilla').map((row) => [key(row), row.lastMs]),
  )
  return (row) => last.get(key(row))
}

/**
 * A line for each contender in each place and cache state: medians, and the 99th percentile to the last page.
 */
export function summarise(rows: readonly RestoreRow[]): SummaryLine[] {
  const vanilla = vanillaOf(rows)
  const groups = groupBy(withOverhead(rows), (row) => `${placeOf(row)}|${row.cache}|${row.contender}`)
  return [...groups.values()].map((group) => {
    const [{ cache, contender }] = group as [RowWithOverhead]
    const median = (field: 'firstMs' | 'overheadMs' | 'rssMib' | 'readMib') => {
      const values = group.flatMap((row) => row[field] ?? [])
      return values.length === 0 ? undefined : tenths(middle(values))
    }
    const last = group.map(({ lastMs }) => lastMs)
    return {
      place: placeOf(group[0] as RowWithOverhead),
      cache,
      contender,
      rounds: group.length,
      firstMs: median('firstMs'),
      lastMs: tenths(middle(last)),
      lastP99Ms: tenths(nearestRank(last, 0.99)),
      overheadMs: median('overheadMs'),
      ofVanilla: ratioOf(group, vanilla),
      rssMib: median('rssMib'),
      readMib: median('readMib'),
    }
  })
}

function ratioOf(
  group: readonly RestoreRow[],
  vanilla: (row: RestoreRow) => number | undefined,
): number | undefined {
  const ratios = group.flatMap((row) => {
    const other = vanilla(row)
    return row.warmPassMs === undefined || other === undefined ? [] : [row.lastMs / other]
  })
  return ratios.length === 0 ? undefined : middle(ratios)
}

/** Against vanilla with everything in the page cache: the ideal of the literature. The fastest first. */
export function table(rows: readonly RestoreRow[]): string {
  const lines = summarise(rows).sort((a, b) => a.cache.localeCompare(b.cache) || a.lastMs - b.lastMs)
  return [...groupBy(lines, ({ place }) => place)]
    .flatMap(([place, group]) => {
      const ideal = group.find(
        ({ cache, contender }) => cache === 'warm' && contender === 'vanilla',
      )?.overheadMs
      return [
        `### ${place}`,
        '',
        '| cache | contender | first answer | last page | p99 | of vanilla | overhead | of vanilla cached | RSS MiB | read MiB |',
        '|---|---|---:|---:|---:|---:|---:|---:|---:|---:|',
        ...group.map((line) => `| ${columnsOf(line, ideal).join(' | ')} |`),
        '',
      ]
    })
    .join('\n')
}

const times = (ratio: number | undefined) => (ratio === undefined ? '' : `${ratio.toFixed(2)}×`)

function columnsOf(line: SummaryLine, ideal: number | undefined): (string | number)[] {
  const { overheadMs } = line
  return [
    line.cache,
    line.contender,
    line.firstMs ?? '',
    line.lastMs,
    line.lastP99Ms,
    times(line.ofVanilla),
    overheadMs ?? '',
    times(ideal === undefined || overheadMs === undefined ? undefined : overheadMs / ideal),
    line.rssMib ?? '',
    line.readMib ?? '',
  ]
}
