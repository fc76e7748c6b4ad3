import { median } from '../statistics/median.js'
import { escapeHtml } from './html.js'
import type { Compared, Line } from './summarise.js'
import { bytesText, measureText, msText, ratioText } from './units.js'

/** Colours are CSS variables --c0 to --c9. */
const colours = 10
const dashes = ['', '6 3', '2 3', '9 3 2 3'] as const

/** Contenders of one family (what stands before a comma) have one colour, and dashes to tell them apart. */
function strokesOf(lines: readonly Line[]): string[] {
  const families: string[][] = []
  return lines.map(({ name, reference }) => {
    const family = reference ? `${name} elsewhere` : (name.split(',')[0] ?? name)
    const known = families.find(([first]) => first === family)
    const members = known ?? [family]
    if (known === undefined) families.push(members)
    members.push(name)
    const dash = dashes[(members.length - 2) % dashes.length]
    return `stroke="var(--c${families.indexOf(members) % colours})"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}`
  })
}

const key = (stroke: string, name: string) =>
  `<span class="key"><svg viewBox="0 0 28 6" aria-hidden="true"><path d="M0 3H28" stroke-width="4" fill="none" ${stroke}/></svg>${escapeHtml(name)}</span>`

/**
 * As far as a chart reaches: one contender that is far behind all others (a cold boot) must not press the
 * rest into its first tenth; it goes out of the chart.
 */
function reach(all: readonly { readonly typical: number; readonly most: number }[]): number {
  const usual = median(all.map(({ typical }) => typical))
  const near = all.filter(({ typical }) => typical <= farBeyond * usual)
  return Math.max(...near.map(({ most }) => most), 0)
}
const farBeyond = 4

/** A round number of at least `value`, and the ticks up to it. */
function ticksTo(value: number): number[] {
  const rough = Math.max(value, Number.MIN_VALUE) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 2.5, 5, 10].find((it) => it * power >= rough) ?? 10) * power
  return Array.from({ length: Math.ceil(value / step) + 1 }, (_, index) => index * step)
}

/**
 * The share of rounds that were done by a time. Lines stretch with the page and stay thin; words are HTML, so
 * that they are as large on a telephone as elsewhere.
 */
export function cdfChart(lines: readonly Line[], measure: string): string {
  const strokes = strokesOf(lines)
  const drawn = lines
    .map((line, index) => ({ line, stroke: strokes[index] ?? '' }))
    .filter(({ line }) => line.values.length > 0)
  const ends = drawn.map(({ line }) => ({ typical: median(line.values), most: Math.max(...line.values) }))
  const ticks = ticksTo(reach(ends))
  const most = ticks.at(-1) || 1
  const x = (value: number) => ((1000 * value) / most).toFixed(1)
  const paths = drawn.map(({ line, stroke }) => {
    const sorted = [...line.values].sort((a, b) => a - b)
    const steps = sorted.map(
      (value, n) => `H${x(value)}V${(100 - (100 * (n + 1)) / sorted.length).toFixed(2)}`,
    )
    return `<path d="M0 100${steps.join('')}H1000" fill="none" ${stroke} stroke-width="2" vector-effect="non-scaling-stroke"><title>${escapeHtml(line.name)}: median ${escapeHtml(measureText(measure, line.measures[measure]?.median))}</title></path>`
  })
  const grid = ticks.map((tick) => `<path d="M${x(tick)} 0V100" class="grid"/>`).join('')
  const labels = ticks
    .map((tick, n) =>
      n % 2 === 1 && ticks.length > 5
        ? ''
        : `<span style="left:${(100 * tick) / most}%">${escapeHtml(tickText(measure, tick))}</span>`,
    )
    .join('')
  return `<figure class="chart" role="img" aria-label="distribution of ${escapeHtml(measure)}"><div class="plot"><div class="ys"><span>100 %</span><span>50 %</span><span>0</span></div><svg viewBox="0 0 1000 100" preserveAspectRatio="none">${grid}<path d="M0 50H1000M0 100H1000M0 0H1000" class="grid"/>${paths.join('')}</svg><div class="xs">${labels}</div></div><figcaption>${drawn.map(({ line, stroke }) => key(stroke, Math.min(...line.values) > most ? `${line.name}: to the right of this` : line.name)).join('')}</figcaption></figure>`
}

function tickText(measure: string, tick: number): string {
  if (measure.endsWith('Bytes')) return bytesText(tick)
  const text = Number(tick.toPrecision(3)).toLocaleString('en-US')
  return measure.endsWith('Ms') ? `${text} ms` : text
}

/** One bar a line, its parts one after the other. */
export interface Bar {
  readonly name: string
  readonly parts: readonly { readonly name: string; readonly value: number; readonly text: string }[]
  readonly label: string
}

/** `names`: every part, in the order of the legend. */
export function barChart(bars: readonly Bar[], names: readonly string[], label: string): string {
  const lengths = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0))
  const most = reach(lengths.map((length) => ({ typical: length, most: length }))) || 1
  const rows = bars.map(({ name, parts, label: text }, index) => {
    const pieces = parts
      .filter(({ value }) => value > 0)
      .map(
        (part) =>
          `<i class="f${names.indexOf(part.name) % colours}" style="width:${((100 * part.value) / most).toFixed(2)}%" title="${escapeHtml(`${part.name}: ${part.text}`)}"></i>`,
      )
    const cut = (lengths[index] ?? 0) > 1.001 * most ? ' cut' : ''
    return `<div class="bar${cut}"><b>${escapeHtml(name)}</b><div class="track">${pieces.join('')}</div><span>${escapeHtml(text)}</span></div>`
  })
  const legend = names
    .map((name, index) => `<span class="key"><i class="f${index % colours}"></i>${escapeHtml(name)}</span>`)
    .join('')
  return `<figure class="chart" role="img" aria-label="${escapeHtml(label)}"><div class="bars">${rows.join('')}</div><figcaption>${legend}</figcaption></figure>`
}

/** A phase that takes less of all bars is part of the rest: it would not be seen. */
const least = 0.02

const afterPhases = ['the work', 'to the first answer', 'restore, other'] as const

/**
 * If the time goes: phases of the restore, then until the first answer, then the work.
 * Undefined if nothing is timed.
 */
export function phaseChart(lines: readonly Line[]): string | undefined {
  const shown = new Set(
    lines.flatMap(({ phasesMs, measures }) =>
      Object.entries(phasesMs).flatMap(([name, ms]) =>
        ms > least * (measures.totalMs?.median ?? 0) ? [name] : [],
      ),
    ),
  )
  const bars = lines.flatMap((line): Bar[] => {
    const of = (name: string) => line.measures[name]?.median
    const [first, total] = [of('firstMs'), of('totalMs')]
    if (first === undefined || total === undefined) return []
    const restored = of('restoredMs') ?? 0
    const phases = Object.entries(line.phasesMs).filter(([name]) => shown.has(name))
    const sum = phases.reduce((all, [, ms]) => all + ms, 0)
    // Phases overlap: then each is drawn as its share of what the restore took.
    const scale = sum > restored ? restored / sum : 1
    const timed = (name: string, ms: number, drawn = ms) => ({ name, value: drawn, text: msText(ms) })
    return [
      {
        name: line.name,
        label: msText(total),
        parts: [
          ...phases.map(([name, ms]) => timed(name, ms, ms * scale)),
          timed(afterPhases[2], Math.max(0, restored - sum)),
          timed(afterPhases[1], Math.max(0, first - restored)),
          timed(afterPhases[0], Math.max(0, total - first)),
        ],
      },
    ]
  })
  return bars.length === 0 ? undefined : barChart(bars, [...afterPhases, ...shown], 'medians of phases')
}

const memoryParts = ['private copies', 'pages of files'] as const

/** Memory of one VM after its work, by who else has it. Undefined if it was not measured. */
export function memoryChart(lines: readonly Line[]): string | undefined {
  const bars = lines.flatMap((line): Bar[] => {
    const of = (name: string) => line.measures[name]?.median
    const [own, shared] = [of('privateBytes'), of('fileBytes')]
    if (own === undefined || shared === undefined) return []
    return [
      {
        name: line.name,
        label: `${bytesText(own)} + ${bytesText(shared)}`,
        parts: [
          { name: memoryParts[0], value: own, text: bytesText(own) },
          { name: memoryParts[1], value: shared, text: bytesText(shared) },
        ],
      },
    ]
  })
  return bars.length === 0 ? undefined : barChart(bars, memoryParts, 'memory of one VM')
}

/**
 * Draws a ratio and its interval (or its rounds) on a log scale from a quarter to four times; values beyond
 * that are at the edge. In colour only if a difference is shown.
 */
export function ratioMark({ ratio, interval, range, shown }: Compared): string {
  const at = (value: number) =>
    (50 + 50 * Math.max(-1, Math.min(1, Math.log2(Math.max(value, 1e-9)) / 2))).toFixed(1)
  const [low, high] = interval ?? range ?? [ratio, ratio]
  const tone = shown === null ? 'even' : shown === 'less' ? 'good' : 'bad'
  return `<svg class="ratio ${tone}" viewBox="0 0 100 10" role="img" aria-label="${escapeHtml(ratioText(ratio))}"><path class="one" d="M50 0V10"/><path class="whisker" d="M${at(low)} 5H${at(high)}"/><circle cx="${at(ratio)}" cy="5" r="3"/></svg>`
}
