import type { ExperimentRows } from '../experiments/rows.js'

/**
 * One line a cell, for spreadsheets (RFC 4180): factors, then measures and phases as far as any row has them.
 */
export function rowsToCsv({ header, cells }: ExperimentRows): string {
  const factors = Object.keys(header.factors)
  const all = (of: 'measures' | 'phasesMs') => [...new Set(cells.flatMap((row) => Object.keys(row[of])))]
  const [measures, phases] = [all('measures'), all('phasesMs')]
  const lines = [
    [
      'at',
      'round',
      ...factors,
      'correct',
      'failure',
      'tookMs',
      'load',
      ...measures,
      ...phases.map((it) => `phase ${it} ms`),
    ],
    ...cells.map((row) => [
      row.at,
      row.round,
      ...factors.map((name) => row.cell[name]),
      row.correct,
      row.failure,
      row.tookMs,
      row.load,
      ...measures.map((name) => row.measures[name]),
      ...phases.map((name) => row.phasesMs[name]),
    ]),
  ]
  return lines.map((line) => `${line.map(field).join(',')}\r\n`).join('')
}

/** A text that a spreadsheet would take for a formula gets a quote before it. */
function field(value: string | number | boolean | undefined): string {
  if (value === undefined) return ''
  const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
