import { escapeHtml } from '../report/html.js'
import { median } from '../statistics/median.js'
import type { DemoHeatMap, DemoRestore, DemoResult, PageClassName } from './demo-result.js'

const classOrder: readonly PageClassName[] = ['written', 'read-only', 'cold', 'zero']
const classMeaning: Readonly<Record<PageClassName, string>> = {
  written: 'written after the restore',
  'read-only': 'present but not written: read-only = present − written',
  cold: 'in the image, not touched',
  zero: 'zero in the image',
}

/** One self-contained HTML file: no script, no network, light and dark, readable on a phone. */
export function renderReport(result: DemoResult): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Varve: a layered restore</title><style>${css}</style></head><body><main>
<h1>A layered restore</h1>
<p>${escapeHtml(result.createdAt)}, ${result.lab} lab${result.lab === 'nested' ? ': its counts of pages are exact, its times are not speeds' : ''}.
A guest of ${result.guest.memoryMib} MiB (${count(result.guest.pages)} pages) booted in ${ms(result.guest.bootMs)}.</p>
<h2>Layers</h2>
${layers(result)}
<h2>What the restored guest touched</h2>
${workingSet(result)}
${heatMap(result.heatMap)}
<h2>Restore, side by side</h2>
${restores(result.restores)}
<h2>Checked</h2>
${rows(
  ['what', 'result'],
  result.checks.map(({ what, result: found }) => [what, found]),
)}
<h2>Environment</h2>
${rows(['', ''], Object.entries(result.environment))}
</main></body></html>
`
}

function layers(result: DemoResult): string {
  const most = Math.max(1, ...result.layers.map(({ allocatedBytes }) => allocatedBytes))
  return rows(
    ['layer', 'data pages', 'zero', 'inherited', 'on disk', '', 'guest paused'],
    result.layers.map((layer) => [
      `${layer.name} (${layer.kind})`,
      count(layer.dataPages),
      count(layer.zeroPages),
      count(layer.absentPages),
      `${(layer.allocatedBytes / 2 ** 20).toFixed(1)} MiB`,
      bar(layer.allocatedBytes / most),
      ms(layer.pauseMs),
    ]),
  )
}

function workingSet({ workingSet: { told, found, extra, missing } }: DemoResult): string {
  const table = rows(
    ['', 'present', 'written', 'read-only'],
    [
      ['told to touch', ...[told.present, told.written, told.readOnly].map(count)],
      ['found', ...[found.present, found.written, found.readOnly].map(count)],
    ],
  )
  const notes = extra
    .map(({ pages, why }) => `<li>${count(pages)} more than told: ${escapeHtml(why)}</li>`)
    .join('')
  return `${table}<ul>${notes}<li>${count(missing)} told but not found</li></ul>`
}

function heatMap(map: DemoHeatMap): string {
  const side = 10
  const cells = map.cells
    .map((name, index) => {
      const [x, y] = [(index % map.columns) * side, Math.floor(index / map.columns) * side]
      return `<rect class="${name}" x="${x}" y="${y}" width="${side - 1}" height="${side - 1}"/>`
    })
    .join('')
  const legend = classOrder
    .map((name) => `<span><i class="${name}"></i>${name}: ${escapeHtml(classMeaning[name])}</span>`)
    .join('')
  return `<figure><svg role="img" aria-label="page classes" viewBox="0 0 ${map.columns * side} ${map.rows * side}">${cells}</svg>
<figcaption>One square is ${count(map.pagesPerCell)} pages, in memory-file order, shown as its busiest class. <span class="legend">${legend}</span></figcaption></figure>`
}

function restores(all: readonly DemoRestore[]): string {
  const most = Math.max(1, ...all.flatMap(({ wholePassMs }) => wholePassMs))
  const table = rows(
    ['engine', 'n', 'first answer, median', 'whole pass, median', 'min – max', ''],
    all.map(({ engine, firstAnswerMs, wholePassMs }) => [
      engine,
      String(wholePassMs.length),
      ms(median(firstAnswerMs)),
      ms(median(wholePassMs)),
      `${ms(Math.min(...wholePassMs))} – ${ms(Math.max(...wholePassMs))}`,
      bar(median(wholePassMs) / most),
    ]),
  )
  const raw = all.map(
    (it) =>
      `${it.engine} first answer: ${it.firstAnswerMs.map(ms).join(', ')}\n${it.engine} whole pass: ${it.wholePassMs.map(ms).join(', ')}`,
  )
  return `${table}<p>From the request to the guest’s first answer, and to the end of a pass over the pages that it was told to touch; rounds interleaved, image in the page cache.</p><details><summary>raw rounds</summary><pre>${escapeHtml(raw.join('\n'))}</pre></details>`
}

/** Cells that start with `<` are markup of this file; everything else is escaped. */
function rows(head: readonly string[], body: readonly (readonly string[])[]): string {
  const cells = (tag: string, row: readonly string[]) =>
    row.map((cell) => `<${tag}>${cell.startsWith('<') ? cell : escapeHtml(cell)}</${tag}>`).join('')
  const header = head.every((cell) => cell === '') ? '' : `<thead><tr>${cells('th', head)}</tr></thead>`
  return `<div class="scroll"><table>${header}<tbody>${body.map((row) => `<tr>${cells('td', row)}</tr>`).join('')}</tbody></table></div>`
}

const bar = (share: number) => `<div class="bar"><div style="width:${(share * 100).toFixed(1)}%"></div></div>`
const count = (value: number) => value.toLocaleString('en-US')
const ms = (value: number) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`

const css = `
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--line:#d9dee3;--bar:#5b7c99;--written:#c8553d;--read-only:#e0a458;--cold:#9fb8ad;--zero:#e8ebee}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--paper:#15181b;--line:#33393f;--bar:#7fa3c2;--written:#e0715a;--read-only:#d99f4f;--cold:#4f6b60;--zero:#262b30}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}main{max-width:60rem;margin:0 auto;padding:1rem}
h1,h2{line-height:1.2}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;vertical-align:top}
.scroll{overflow-x:auto}.bar{width:8rem;height:.8rem;background:var(--zero)}.bar div{height:100%;background:var(--bar)}
figure{margin:1rem 0}svg{width:100%;height:auto;display:block}.legend span{display:inline-block;margin-right:1rem}.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.3rem}
${(['written', 'read-only', 'cold', 'zero'] as const).map((name) => `rect.${name}{fill:var(--${name})}.legend i.${name}{background:var(--${name})}`).join('')}
pre{overflow-x:auto}`
