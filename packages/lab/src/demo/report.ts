import { barChart } from '../report/charts.js'
import { definitionList, escapeHtml, factList, tableHtml } from '../report/html.js'
import { page } from '../report/page.js'
import { pictures } from '../report/set-sections.js'
import { recordedSets } from '../report/sets.js'
import { bytesText, msText } from '../report/units.js'
import { median } from '../statistics/median.js'
import type { DemoResult } from './demo-result.js'

/** The demo's page, made of the parts of an experiment's report. */
export function renderDemo(result: DemoResult): string {
  return page('a layered restore', [
    opening(result),
    layers(result),
    workingSet(result),
    pictures(recordedSets([result.set])),
    restores(result),
    `<h2>Checked</h2>${definitionList(result.checks.map(({ what, result: found }) => [what, found]))}`,
    `<h2>Where and what</h2>${definitionList(Object.entries(result.environment))}`,
  ])
}

function opening({ createdAt, lab, guest }: DemoResult): string {
  const facts = [
    ['lab', lab],
    ['guest', `${guest.memoryMib} MiB, ${count(guest.pages)} pages`],
    ['booted in', msText(guest.bootMs)],
  ]
  const nested =
    lab === 'nested' ? '<p class="warn">Its counts of pages are exact, its times are not speeds.</p>' : ''
  return `<h1>A layered restore</h1>${factList(createdAt, facts)}${nested}`
}

function layers({ layers: all }: DemoResult): string {
  const rows = all.map((layer) => [
    `${layer.name} (${layer.kind})`,
    ...[layer.dataPages, layer.zeroPages, layer.absentPages].map(count),
    bytesText(layer.allocatedBytes),
    msText(layer.pauseMs),
  ])
  const head = ['layer', 'data pages', 'zero pages', 'inherited pages', 'on disk', 'guest paused']
  return `<h2>Layers</h2>${table(head, rows)}`
}

function workingSet({ workingSet: { told, found, extra, missing } }: DemoResult): string {
  const rows = [
    ['told to touch', ...[told.present, told.written, told.readOnly].map(count)],
    ['found', ...[found.present, found.written, found.readOnly].map(count)],
  ]
  const notes = [
    ...extra.map(({ pages, why }) => `${count(pages)} more than told: ${why}`),
    `${count(missing)} told but not found`,
  ].map((note) => `<li>${escapeHtml(note)}</li>`)
  const head = ['', 'present', 'written', 'read-only']
  return `<h2>What the restored guest touched</h2>${table(head, rows)}<ul class="findings">${notes.join('')}</ul>`
}

const parts = ['to the first answer', 'to the end of the pass'] as const

function restores({ restores: all }: DemoResult): string {
  const rows = all.map(({ engine, firstAnswerMs, wholePassMs }) => [
    engine,
    msText(median(firstAnswerMs)),
    msText(median(wholePassMs)),
    `${msText(Math.min(...wholePassMs))} – ${msText(Math.max(...wholePassMs))}`,
    String(wholePassMs.length),
  ])
  const bars = all.map(({ engine, firstAnswerMs, wholePassMs }) => {
    const [first, whole] = [median(firstAnswerMs), median(wholePassMs)]
    const values = [first, Math.max(0, whole - first)]
    return {
      name: engine,
      label: msText(whole),
      parts: parts.map((name, n) => ({ name, value: values[n] ?? 0, text: msText(values[n] ?? 0) })),
    }
  })
  const raw = all.map(
    (it) =>
      `${it.engine} first answer: ${it.firstAnswerMs.map(msText).join(', ')}\n${it.engine} whole pass: ${it.wholePassMs.map(msText).join(', ')}`,
  )
  const head = ['engine', 'first answer, median', 'whole pass, median', 'min – max', 'rounds']
  return `<h2>Restore, side by side</h2><p class="soft">From the request to the guest’s first answer, and to the end of a pass over the pages that it was told to touch; rounds interleaved, image in the page cache.</p>${table(head, rows)}${barChart(bars, parts, 'medians of the restores')}<details><summary>raw rounds</summary><pre>${escapeHtml(raw.join('\n'))}</pre></details>`
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  tableHtml(
    head,
    rows.map((cells) => ({ cells })),
  )

const count = (value: number) => value.toLocaleString('en-US')
