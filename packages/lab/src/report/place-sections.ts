import { cdfChart, memoryChart, phaseChart, ratioMark } from './charts.js'
import { intervalText, type PlaceFindings } from './findings.js'
import { escapeHtml, type Markup, type TableCell, tableHtml } from './html.js'
import type { Line, Place, Summary } from './summarise.js'
import { measureName, measureNames, measureText } from './units.js'

/** The measures that a table shows in addition to times and ratios, in this order. */
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

/** Contenders side by side, place by place: a table, how rounds spread, phases, memory. */
export function places(summary: Summary, findings: readonly PlaceFindings[]): string[] {
  const only = summary.places.length === 1
  const sections = summary.places.map((place, index) => {
    const phases = phaseChart(place.lines)
    const memory = memoryChart(place.lines)
    const content = [
      placeTable(place, summary),
      `<h3>How the rounds spread</h3><p class="soft">The share of rounds in which ${escapeHtml(measureName(summary.measure))} was at most so much: further left is ${summary.measure.endsWith('Ms') ? 'better' : 'less'}, steeper is steadier.</p>${cdfChart(place.lines, summary.measure)}`,
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
    measureName(measure),
    `of ${summary.baseline}`,
    ...(anyHere ? [`of ${summary.baselineHere} here`] : []),
    'p90',
    'p99',
    ...shown.map(measureName),
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
/**
 * Measures that only this experiment has, and those that the table of times does not
 * show unless they are all there is.
 */
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
