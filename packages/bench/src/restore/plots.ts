// The rows of bench:restore as one page that opens offline: a table, and for each place the share of restores that had touched
// their last page by a time (SVG).
import { placeOf, summarise } from './summary.mjs'

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

const html = (text) => String(text).replace(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`)

export function cdfPlots(rows, environment) {
  const places = new Map()
  for (const row of rows.filter((it) => it.warmPassMs !== undefined)) {
    const key = `${placeOf(row)}, ${row.cache}`
    places.set(key, [...(places.get(key) ?? []), row])
  }
  const figures = [...places].map(
    ([name, of]) => `<figure><figcaption>${html(name)}</figcaption>${cdf(of)}</figure>`,
  )
  const cells = summarise(rows).map((it) =>
    ['place', 'cache', 'contender', 'rounds', 'firstMs', 'lastMs', 'lastP99Ms', 'overheadMs', 'rssMib']
      .map((field) => `<td>${html(it[field] ?? '')}</td>`)
      .join(''),
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
<table><tr>${['guest', 'cache', 'contender', 'rounds', 'first answer ms', 'last page ms', 'p99 ms', 'overhead ms', 'RSS MiB'].map((it) => `<th>${it}</th>`).join('')}</tr>
${cells.map((it) => `<tr>${it}</tr>`).join('\n')}</table></html>
`
}

function cdf(rows) {
  const most = Math.max(...rows.map(({ lastMs }) => lastMs)) * 1.02
  const x = (ms) => (left + (ms / most) * (width - left - 10)).toFixed(1)
  const y = (share) => (10 + (1 - share) * (height - bottom - 10)).toFixed(1)
  const names = [...new Set(rows.map(({ contender }) => contender))]
  const lines = names.map((name, i) => {
    const times = rows
      .filter(({ contender }) => contender === name)
      .map(({ lastMs }) => lastMs)
      .sort((a, b) => a - b)
    const steps = times.map((ms, n) => `H${x(ms)}V${y((n + 1) / times.length)}`).join('')
    return `<path d="M${x(0)},${y(0)}${steps}H${x(most)}" fill="none" stroke="${colours[i % colours.length]}" stroke-width="1.5"/>`
  })
  const key = names.map(
    (name, i) =>
      `<g transform="translate(${left + (i % 3) * 190},${height + 14 + Math.floor(i / 3) * 15})"><rect width="10" height="10" y="-9" fill="${colours[i % colours.length]}"/><text x="15">${html(name)}</text></g>`,
  )
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<text x="${x(most * share)}" y="${height - 10}" text-anchor="middle">${Math.round(most * share)} ms</text><text x="${left - 6}" y="${y(share)}" text-anchor="end">${share * 100} %</text><path d="M${x(0)},${y(share)}H${x(most)}" stroke="#8884"/>`,
  )
  const rowsOfKey = Math.ceil(names.length / 3)
  return `<svg viewBox="0 0 ${width} ${height + 15 * rowsOfKey + 10}" role="img">${ticks.join('')}${lines.join('')}${key.join('')}</svg>`
}
