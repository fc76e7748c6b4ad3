import type { MatrixBinary } from './find-binaries.js'
import type { MatrixCell } from './run-cell.js'

/** The results so far: a row for each scenario, a cell for each binary; undefined if it did not run. */
export interface Matrix {
  readonly binaries: readonly MatrixBinary[]
  readonly rows: readonly { readonly scenario: string; readonly cells: readonly (MatrixCell | undefined)[] }[]
}

/** The table, the binaries, and why cells are not ok. */
export function renderMatrix({ binaries, rows }: Matrix): string {
  const table = [
    ['scenario', ...binaries.map(({ label }) => label)],
    ...rows.map(({ scenario, cells }) => [scenario, ...cells.map(inTable)]),
  ]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = table.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  const about = binaries.map(
    ({ label, path, problem }) => `${label}: ${path}${problem === null ? '' : `: ${problem}`}`,
  )
  return `${[...lines, '', ...about, ...reasons({ binaries, rows })].join('\n')}\n`
}

function inTable(cell: MatrixCell | undefined): string {
  if (cell === undefined) return '–'
  if (cell.status === 'not applicable') return 'n/a'
  return `${cell.status === 'ok' ? 'ok' : 'FAILED'} ${(cell.ms / 1000).toFixed(1)} s`
}

function reasons({ binaries, rows }: Matrix): readonly string[] {
  return rows.flatMap(({ scenario, cells }) =>
    cells.flatMap((cell, column) => {
      if (cell === undefined || cell.reason === null) return []
      const { label, problem } = binaries[column] as MatrixBinary
      // The line of the binary says why.
      if (problem !== null) return []
      return [`${label}, ${scenario}: ${cell.status}: ${inShort(cell.reason)}`]
    }),
  )
}

/** Without stack frames, which `--json` has. */
const inShort = (reason: string) =>
  reason
    .split('\n')
    .filter((line) => !/^\s+at /.test(line))
    .slice(0, 5)
    .join('\n    ')
