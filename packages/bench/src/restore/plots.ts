// The rows of bench:restore as one page that opens offline: a table, and for each place the share of restores
// that had touched their last page by a time (SVG).
import { groupBy } from '../common/numbers.js'
import { placeOf, type RestoreRow } from './rows.js'
import { type SummaryLine, summarise } from './summary.js'

const colours = [
  '#3b6ea5',
  '#c8553d',
  '#2f9e73',
  '#8e5bb5',
  '#b08900',
  '#5c6b73',
  '#d4719b',
  '#1f9bb5',
  '#7a8f2b',
  '#333333',
]
const [width, height, left, bottom] = [640, 260, 44, 28]

const html = (text: unknown) => String(text).replace(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`)

/** Columns of the table, and what stands above them. */
const columns: readonly (readonly [keyof SummaryLine, string])[] = [
  ['place', 'guest'],
  ['cache', 'cache'],
  ['contender', 'contender'],
  ['rounds', 'rounds'],
  ['firstMs', 'first answer ms'],
  ['lastMs', 'last page ms'],
  ['lastP99Ms', 'p99 ms'],
  ['overheadMs', 'overhead ms'],
  ['rssMib', 'RSS MiB'],
]

export function cdfPlots(rows: readonly RestoreRow[], environment: object): string {
  const restores = rows.filter(({ warmPassMs }) => warmPassMs !== undefined)
  const figures = [...groupBy(restores, (row) => `${placeOf(row)}, ${row.cache}`)].map(
    ([name, of]) => `<figure><figcaption>${html(name)}</figcaption>${cdf(of)}</figure>`,
  )
  const lines = summarise(rows).map((line) =>
    columns.map(([field]) => `<td>${html(line[field] ?? '')}</td>`).join(''),
  )
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Restoring a VM</title>
<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #8884}td:nth-child(-n+3){text-align:left}
figure{margin:2rem 0}svg{width:100%;height:auto}text{font:11px system-ui;fill:currentColor}</style>
<h1>From the request to the last page</h1>
<p>Each line is the share of restores that had touched every page of the working set by then. ${html(JSON.stringify(environment))}</p>
${figures.join('\n')}
<table><tr>${columns.map(([, title]) => `<th>${title}</th>`).join('')}</tr>
${lines.map((it) => `<tr>${it}</tr>`).join('\n')}</table></html>
`
}

function cdf(rows: readonly RestoreRow[]): string {
  const most = Math.max(...rows.map(({ lastMs }) => lastMs)) * 1.02
  const x = (ms: number) => (left + (ms / most) * (width - left - 10)).toFixed(1)
  const y = (share: number) => (10 + (1 - share) * (height - bottom - 10)).toFixed(1)
  const colour = (i: number) => colours[i % colours.length]
  const contenders = [...groupBy(rows, ({ contender }) => contender)]
  const lines = contenders.map(([, of], i) => {
    const times = of.map(({ lastMs }) => lastMs).sort((a, b) => a - b)
    const steps = times.map((ms, n) => `H${x(ms)}V${y((n + 1) / times.length)}`).join('')
    return `<path d="M${x(0)},${y(0)}${steps}H${x(most)}" fill="none" stroke="${colour(i)}" stroke-width="1.5"/>`
  })
  const key = contenders.map(
    ([name], i) =>
      `<g transform="translate(${left + (i % 3) * 190},${height + 14 + Math.floor(i / 3) * 15})"><rect width="10" height="10" y="-9" fill="${colour(i)}"/><text x="15">${html(name)}</text></g>`,
  )
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<text x="${x(most * share)}" y="${height - 10}" text-anchor="middle">${Math.round(most * share)} ms</text><text x="${left - 6}" y="${y(share)}" text-anchor="end">${share * 100} %</text><path d="M${x(0)},${y(share)}H${x(most)}" stroke="#8884"/>`,
  )
  const rowsOfKey = Math.ceil(contenders.length / 3)
  return `<svg viewBox="0 0 ${width} ${height + 15 * rowsOfKey + 10}" role="img">${ticks.join('')}${lines.join('')}${key.join('')}</svg>`
}
