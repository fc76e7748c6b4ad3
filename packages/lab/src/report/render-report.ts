import { classColours, type PageClass } from 'varve'
import type { ExperimentRows } from '../experiments/rows.js'
import { leastRounds } from '../statistics/paired-ratio.js'
import { cdfChart, memoryChart, phaseChart, ratioMark } from './charts.js'
import { findingsOf, intervalText, lostBeyond, type PlaceFindings } from './findings.js'
import { escapeHtml, type Markup, type TableCell, tableHtml } from './html.js'
import {
  classPicture,
  mostCompared,
  mostPictures,
  overlaps,
  type RecordedSet,
  recordedSets,
  timePicture,
} from './sets.js'
import { reportCss } from './style.js'
import { factorText, type Line, type Place, type Summary, summarise } from './summarise.js'
import { bytesText, measureNames, measureText } from './units.js'

/** One self-contained HTML file: no script, nothing from elsewhere (its own policy forbids it), light and dark, for any width. */
export function renderReport(rows: ExperimentRows): string {
  const { header } = rows
  const summary = summarise(rows)
  const findings = findingsOf(summary)
  const sets = recordedSets(rows.sets)
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Varve: ${escapeHtml(header.experiment)}</title>
<style>${reportCss}</style></head><body><main>
${[
  opening(rows, summary),
  inShort(findings, summary),
  ...places(summary, findings),
  whatLost(findings),
  pictures(sets),
  overlapSection(sets),
  howToRead(summary),
  environment(rows),
]
  .filter((it) => it !== '')
  .join('\n')}
</main></body></html>
`
}

function opening({ header, cells }: ExperimentRows, { rounds, fixed }: Summary): string {
  const { environment: of, experiment, question, startedAt } = header
  const wrong = cells.filter(({ correct }) => !correct).length
  const nested =
    of.lab === 'nested'
      ? `<p class="warn"><b>From the nested lab${of.accelerator === 'tcg' ? ', emulated' : ''}: its times are not speeds.</b> Page counts are the same as on any machine. Times only show the order of events; on real hardware even the order of two ways may differ. If a set is brought alongside the guest, guest and engine race for each page, so the counts of waits (faults of the disk and of the page server) and of bytes read vary from run to run.</p>`
      : ''
  const facts = [
    ['cells', cells.length.toLocaleString('en-US')],
    ['rounds', String(rounds)],
    ['wrong or failed', String(wrong)],
    ['Firecracker', of.firecracker ?? '?'],
    // Rows of Varve 0.1.0 from an emulated lab say ‘hardware’, for the processor that QEMU plays.
    ['KVM', of.accelerator === 'tcg' && of.kvm === 'hardware' ? 'emulated by QEMU' : (of.kvm ?? '?')],
    ['disk', diskText(of)],
    ...loadFact(cells),
    ['CPU', `${of.cpus ?? '?'} × ${of.cpu ?? '?'}`],
    ['kernel', of.kernel ?? '?'],
    ...Object.entries(fixed).map(([name, value]) => ['always', factorText(name, value)]),
  ]
  return `<h1>${escapeHtml(experiment)}</h1><p class="lead">${escapeHtml(question)}</p>
<ul class="facts"><li>${escapeHtml(startedAt.slice(0, 16).replace('T', ' '))} UTC</li>${facts.map(([name = '', value = '']) => `<li>${escapeHtml(name)} <b>${escapeHtml(value)}</b></li>`).join('')}</ul>
${nested}${of.dropsCache === 'no' ? '<p class="warn"><b>Nothing here is cold.</b> The files lay on a file system whose pages stay in the page cache; cold cells failed.</p>' : ''}${cells.length === 0 ? '<p class="warn">No cell is finished yet.</p>' : ''}`
}

function diskText({ fileSystem, device, readAheadKib }: ExperimentRows['header']['environment']): string {
  if (fileSystem === undefined) return 'not noted'
  return `${fileSystem} on ${device}, read-ahead ${readAheadKib} KiB`
}

function loadFact(cells: ExperimentRows['cells']): [string, string][] {
  const loads = cells.flatMap(({ load }) => load ?? [])
  if (loads.length === 0) return []
  return [['load meanwhile', `${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}`]]
}

function inShort(findings: readonly PlaceFindings[], { baseline, emulated, judged }: Summary): string {
  const items = findings.flatMap(({ place, best }) =>
    best === null
      ? []
      : [`<li>${place === '' ? '' : `<b>${escapeHtml(place)}:</b> `}${escapeHtml(best)}</li>`],
  )
  const against = emulated
    ? ''
    : `<p class="soft">Ratios are medians of the rounds’ ratios, against <b>${escapeHtml(baseline)}</b>; in square brackets their 95 % intervals, in round ones all rounds, where they are fewer than ${leastRounds}. ${judgedText(judged)}</p>`
  return items.length === 0 ? '' : `<h2>In short</h2>${against}<ul class="findings">${items.join('')}</ul>`
}

const judgedText = (judged: number) =>
  judged === 0
    ? `No ratio has the ${leastRounds} rounds that a verdict needs.`
    : `A difference is <i>shown</i> if it would come by chance, in any of this report’s ${judged} ratios, in at most 1 of 20 such reports.`

/** Of the measures, what a table shows beside times and ratios, in this order. */
const tableMeasures = [
  'restoredMs',
  'firstMs',
  'majorFaults',
  'minorFaults',
  'uffdFaults',
  'deviceReadBytes',
  'prefetchedPages',
  'prefetchedUnusedPages',
  'unusedPages',
  'missedPages',
  'privateBytes',
] as const

function places(summary: Summary, findings: readonly PlaceFindings[]): string[] {
  const only = summary.places.length === 1
  const sections = summary.places.map((place, index) => {
    const phases = phaseChart(place.lines)
    const memory = memoryChart(place.lines)
    const content = [
      placeTable(place, summary),
      `<h3>How the rounds spread</h3><p class="soft">The share of rounds in which ${escapeHtml(name(summary.measure))} was at most so much: further left is ${summary.measure.endsWith('Ms') ? 'better' : 'less'}, steeper is steadier.</p>${cdfChart(place.lines, summary.measure)}`,
      phases === undefined
        ? ''
        : `<h3>Where the time goes</h3><p class="soft">Medians. Phases may overlap (a file is made ready while the VMM starts); then each is drawn as its share.</p>${phases}`,
      memory === undefined
        ? ''
        : `<h3>Memory of one VM after its work</h3><p class="soft">Private copies are paid for by each clone; pages of files are the page cache, paid for once however many map them.</p>${memory}`,
    ].join('\n')
    if (only) return `<h2>Side by side</h2>${content}`
    const best = findings[index]?.best
    return `<details${index < 2 ? ' open' : ''}><summary>${escapeHtml(place.name)}${best ? `<span class="soft">${escapeHtml(best)}</span>` : ''}</summary>${content}</details>`
  })
  return only ? sections : ['<h2>Side by side</h2>', ...sections]
}

const name = (measure: string) => measureNames[measure] ?? measure

function placeTable(place: Place, summary: Summary): string {
  const { measure, factor } = summary
  const { lines } = place
  const shown = [...tableMeasures, ...ownMeasures(lines, measure)].filter(
    (it) => it !== measure && lines.some(({ measures }) => measures[it] !== undefined),
  )
  const anyHere = lines.some(({ ratioHere }) => ratioHere !== null)
  const best =
    summary.emulated || !measure.endsWith('Ms')
      ? undefined
      : lines
          .filter((line) => !line.reference && line.wrong === 0 && !/^(warm VM|cold boot)/.test(line.name))
          .sort(
            (a, b) => (a.measures[measure]?.median ?? Infinity) - (b.measures[measure]?.median ?? Infinity),
          )[0]
  const head = [
    factor,
    name(measure),
    `of ${summary.baseline}`,
    ...(anyHere ? [`of ${summary.baselineHere} here`] : []),
    'p90',
    'p99',
    ...shown.map(name),
    'rounds',
  ]
  return tableHtml(
    head,
    lines.map((line) => ({
      className: [
        line.baseline ? 'baseline' : '',
        line.reference ? 'reference' : '',
        line.wrong > 0 ? 'wrong' : '',
        line === best ? 'best' : '',
      ]
        .filter((it) => it !== '')
        .join(' '),
      cells: [
        line.name,
        measureText(measure, line.measures[measure]?.median),
        ratioCell(line.ratio, line.baseline),
        ...(anyHere ? [line.ratioHere === null ? '' : intervalText(line.ratioHere)] : []),
        measureText(measure, line.measures[measure]?.p90),
        measureText(measure, line.measures[measure]?.p99),
        ...shown.map((it) => measureText(it, line.measures[it]?.median)),
        line.wrong === 0 ? String(line.rounds) : `${line.rounds}, ${line.wrong} wrong`,
      ],
    })),
  )
}

const known = new Set<string>(Object.keys(measureNames))
/** Measures that only this experiment has, and those that the table of times does not show unless they are all there is. */
function ownMeasures(lines: readonly Line[], measure: string): string[] {
  const all = [...new Set(lines.flatMap(({ measures }) => Object.keys(measures)))]
  const timed = measure === 'totalMs'
  return all.filter((it) => !known.has(it) || (!timed && !(tableMeasures as readonly string[]).includes(it)))
}

function ratioCell(ratio: Line['ratio'], baseline: boolean): TableCell {
  if (baseline) return '1×'
  if (ratio === null) return '–'
  return {
    html: `${escapeHtml(intervalText(ratio))}${ratioMark(ratio)}`,
  } satisfies Markup
}

function whatLost(findings: readonly PlaceFindings[]): string {
  const all = findings.filter(({ lost }) => lost.length > 0)
  if (all.length === 0) return ''
  const items = all.map(
    ({ place, lost }) =>
      `${place === '' ? '' : `<h3>${escapeHtml(place)}</h3>`}<ul class="findings">${lost
        .map(
          (it) =>
            `<li><b>${escapeHtml(it.name)}</b>, ${escapeHtml(it.by)}${it.why.length === 0 ? '' : `: ${escapeHtml(it.why.join('; '))}`}.</li>`,
        )
        .join('')}</ul>`,
  )
  return `<h2>What lost, and why</h2><p class="soft">What took more than ${lostBeyond}× of Firecracker without Varve in the same place (median of the rounds’ ratios), if a difference is shown; and what failed or answered wrong. Reasons are read off the counters by fixed rules.</p>${items.join('')}`
}

const classMeaning: Readonly<Record<PageClass, string>> = {
  written: 'written',
  'read-only': 'only read',
  cold: 'not touched',
  zero: 'zero in the image',
}

const dataUri = (png: Buffer) => `data:image/png;base64,${png.toString('base64')}`

function pictures(sets: readonly RecordedSet[]): string {
  if (sets.length === 0) return ''
  const shown = sets.slice(0, mostPictures)
  const legend = (Object.keys(classMeaning) as PageClass[])
    .map(
      (it) =>
        `<span><i class="swatch" style="background:rgb(${classColours[it].slice(0, 3).join(' ')})"></i>${classMeaning[it]}</span>`,
    )
    .join(' &nbsp; ')
  const figures = shown.map((set) => {
    const { workingSet: of, present } = set
    const text = `${bytesText(present.pages * 4096)} touched of ${bytesText(of.pages * 4096)}: ${bytesText(of.readOnly.pages * 4096)} only read, ${bytesText(of.written.pages * 4096)} written`
    const byTime =
      of.groups.length < 2
        ? ''
        : `<figure><img alt="when pages of ${escapeHtml(set.name)} were first touched" src="${dataUri(timePicture(set))}"><figcaption>${escapeHtml(set.name)}, by time: first violet, last yellow</figcaption></figure>`
    return `<div class="pictures"><figure><img alt="classes of pages of ${escapeHtml(set.name)}" src="${dataUri(classPicture(set))}"><figcaption>${escapeHtml(set.name)}, by class. ${escapeHtml(text)}</figcaption></figure>${byTime}</div>`
  })
  const left =
    sets.length > shown.length
      ? `<p class="soft">${sets.length - shown.length} more are in the rows.</p>`
      : ''
  return `<h2>What was touched</h2><p class="soft">The guest’s memory, page by page from the upper left. ${legend}</p>${figures.join('')}${left}`
}

function overlapSection(sets: readonly RecordedSet[]): string {
  const tables = overlaps(sets).map(({ names, jaccard }) => {
    const head = ['', ...names.map((_, n) => String(n + 1))]
    const rows = names.map((of, i) => ({
      cells: [
        `${i + 1}  ${of}`,
        ...(jaccard[i] ?? []).map((value) => ({
          html: `<span class="share" style="background:color-mix(in srgb,var(--c3) ${Math.round(70 * value)}%,transparent);padding:.2rem .45rem;border-radius:.2rem">${value.toFixed(2)}</span>`,
        })),
      ],
    }))
    return `<div class="matrix">${tableHtml(head, rows)}</div>`
  })
  if (tables.length === 0) return ''
  return `<h2>How alike the sets are</h2><p class="soft">Jaccard: pages in both ÷ pages in either. 1 means that a set recorded once would have been exactly right the other time.${sets.length > mostCompared ? ` The first ${mostCompared} of an image.` : ''}</p>${tables.join('')}`
}

function howToRead({ measure, baseline, baselineHere, judged }: Summary): string {
  return `<h2>How to read this</h2><ul class="findings small">
<li><b>${escapeHtml(name(measure))}</b> is the median of all rounds; p90 and p99 are nearest-rank, so with few rounds p99 is the worst one. No round is left out.</li>
<li><b>of ${escapeHtml(baseline)}</b> is the median of the ratios against that baseline in the same round. In square brackets: the interval that holds the true median ratio in at least 95 of 100 such experiments, for this ratio alone. Fewer than ${leastRounds} rounds have no such interval: in round brackets are the smallest and the largest ratio. The mark runs from ¼ to 4.</li>
<li>A mark is green (less) or red (more) if a difference is <b>shown</b>: the interval leaves out 1, and a test of all ${judged} ratios of this report together (randomisation within rounds, step-down max T) keeps the chance of any wrong verdict at 5 %. The others are grey: <i>no difference shown</i>. That does not say that there is none; more rounds find smaller ones.</li>
<li>Lines in grey are from another place, shown for comparison; <b>of ${escapeHtml(baselineHere)} here</b> is against ${escapeHtml(baselineHere)} in the same place.</li>
<li>Faults are of the VMM: <i>minor</i> found its page in memory, <i>major</i> waited for a disk, <i>uffd</i> was served by the page server. Where every instruction is emulated in software, the guest’s own work is slow and hides differences.</li>
<li>Everything here is made from <code>rows.jsonl</code> (docs/formats/experiment-rows-v1.md); <code>rows.csv</code> has the same numbers.</li></ul>`
}

function environment({ header }: ExperimentRows): string {
  const rows = [
    ...Object.entries(header.environment),
    ['seed', String(header.seed)],
    ['plan', header.plan],
    ...Object.entries(header.factors).map(([factor, values]) => [
      `factor ${factor}`,
      values.map(String).join(' | '),
    ]),
  ]
  return `<h2>Where and what</h2><dl>${rows.map(([key = '', value = '']) => `<dt>${escapeHtml(key)}</dt><dd>${escapeHtml(value)}</dd>`).join('')}</dl>`
}
