// Rows of bench:restore as dots, a dot a round, with the median of each line: cold and
// warm, what wins and what loses.
import { middle } from '../common/numbers.js'
import type { CacheState, RestoreRow } from '../restore/rows.js'
import { svg, text } from './svg.js'

const contenders: readonly (readonly [name: string, label: string, colour: string])[] = [
  ['vanilla', 'Firecracker alone', '#5c6b73'],
  ['mapped, set alongside', 'mapped, set alongside', '#c8553d'],
  ['file, set alongside', 'file, set alongside', '#d08a2e'],
  ['paged, set before', 'paged, set before', '#3b6ea5'],
]
const sets = [8, 24, 100]
const caches: readonly CacheState[] = ['cold', 'warm']
const [labels, panel, gap, rowHeight, top, right] = [204, 290, 44, 21, 84, 22]
const width = labels + 2 * panel + gap + right
const groupHeight = contenders.length * rowHeight + 34

interface Header {
  readonly rounds: number
  readonly cpu: string
}

interface Run {
  readonly header: Header
  readonly rows: readonly RestoreRow[]
}

/** The first run of the file is the one with all engines; later ones begin with a header of their own. */
function firstRun(jsonl: string): Run {
  const [first = '', ...others] = jsonl.trim().split('\n')
  const header = JSON.parse(first) as Header
  const rows = others.map((line) => JSON.parse(line) as RestoreRow)
  const next = rows.findIndex((row) => row.contender === undefined)
  return { header, rows: next < 0 ? rows : rows.slice(0, next) }
}

export function restoreChart(jsonl: string): string {
  const { header, rows } = firstRun(jsonl)
  const height = top + sets.length * groupHeight + 36
  const body = [
    text(20, 30, 'From the restore request until the guest has touched its whole working set', {
      size: 15,
      bold: true,
    }),
    text(
      20,
      50,
      `Milliseconds; a dot is a round (${header.rounds} each), the bar their median. Each row of panels has its own scale.`,
      {
        size: 12.5,
        colour: '#5c6b73',
      },
    ),
    ...['cold page cache', 'everything in the page cache'].map((name, i) =>
      text(labels + i * (panel + gap), top - 8, name, { size: 12.5, bold: true }),
    ),
    ...sets.flatMap((setMib, group) => groupOf(rows, setMib, top + group * groupHeight)),
    text(
      20,
      height - 16,
      `512 MiB guest, three layers; software KVM on 2 × ${header.cpu}; disk with 8 MiB of read-ahead`,
      {
        size: 12,
        colour: '#5c6b73',
      },
    ),
  ]
  return svg(width, height, 'Restore times by engine, cold and warm', body)
}

function groupOf(rows: readonly RestoreRow[], setMib: number, y: number): string[] {
  const of = rows.filter((row) => row.setMib === setMib)
  const shown = (cache: CacheState, contender: string) =>
    of.filter((row) => row.cache === cache && row.contender === contender).map(({ lastMs }) => lastMs)
  const all = caches.flatMap((cache) => contenders.flatMap(([name]) => shown(cache, name)))
  const most = Math.max(...all) * 1.03
  return [
    text(20, y + 16, `${setMib} MiB`, { size: 12.5, bold: true }),
    ...contenders.map(([, label], row) =>
      text(labels - 10, y + 16 + row * rowHeight, label, { size: 12, anchor: 'end' }),
    ),
    ...caches.flatMap((cache, i) => {
      const left = labels + i * (panel + gap)
      const x = (ms: number) => Number((left + (ms / most) * panel).toFixed(1))
      return [
        ...axis(x, most, left, y),
        ...contenders.map(([name, , colour], row) =>
          line(shown(cache, name), colour, x, y + row * rowHeight),
        ),
      ]
    }),
  ]
}

/** The place of a time in its panel. */
type Scale = (ms: number) => number

/** Steps of 1, 2 or 5 times a power of ten, three or four of them. */
function axis(x: Scale, most: number, left: number, y: number): string[] {
  const power = 10 ** Math.floor(Math.log10(most / 3))
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => most / it < 4.5) ?? 10 * power
  const ticks = Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step)
  const bottom = y + contenders.length * rowHeight + 2
  return [
    `<rect x="${left}" y="${y}" width="${panel}" height="${bottom - y}" fill="#fff"/>`,
    ...ticks.map(
      (ms) =>
        `<path d="M${x(ms)},${y}V${bottom}" stroke="#dfe3e6"/>${text(x(ms), bottom + 14, ms.toLocaleString('en-US'), { size: 11, colour: '#5c6b73', anchor: 'middle' })}`,
    ),
  ]
}

function line(values: readonly number[], colour: string, x: Scale, y: number): string {
  const median = middle(values)
  const place = x(median)
  const dots = values.map(
    (ms) => `<circle cx="${x(ms)}" cy="${y + 12}" r="2.6" fill="${colour}" fill-opacity=".35"/>`,
  )
  const bar = `<rect x="${place - 1.5}" y="${y + 4}" width="3" height="16" rx="1" fill="${colour}"/>`
  return `<g>${dots.join('')}${bar}${text(x(Math.max(...values)) + 7, y + 16, Math.round(median).toLocaleString('en-US'), { size: 11, colour, bold: true })}</g>`
}
