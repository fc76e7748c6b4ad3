// A recorded working set of an experiment as a map of the guest's memory, drawn by the library.
import { classColours, heatMapPng } from '@varve/lab/pictures'
import {
  classify,
  type PageClass,
  pageSetFromRuns,
  presentPages,
  workingSetFromBytes,
} from 'varve/working-sets'
import { svg, text } from './svg.js'

const [columns, scale, margin, top] = [384, 2, 26, 62]

/** Each class with the place of its entry. */
const legend: readonly { readonly of: PageClass; readonly label: string; readonly left: number }[] = [
  { of: 'written', label: 'written', left: 0 },
  { of: 'read-only', label: 'read, not written', left: 140 },
  { of: 'cold', label: 'in the snapshot, not touched', left: 336 },
  { of: 'zero', label: 'zero', left: 600 },
]

/** A row of `varve lab run`, as far as this reads it. */
interface SetRow {
  readonly name: string
  readonly workingSet: string
  readonly zero: readonly (readonly [number, number])[]
}

const colour = (name: PageClass): string => `rgb(${classColours[name].slice(0, 3).join(' ')})`
const mib = (pages: number): string => `${(pages / 256).toFixed(1)} MiB`

/** `name` is the name of a set in `rows`, which are those of `varve lab run`. */
export function pageMap(rows: string, name: string): string {
  const set = rows
    .split('\n')
    .filter((line) => line.startsWith('{"kind":"set"'))
    .map((line) => JSON.parse(line) as SetRow)
    .find((it) => it.name === name)
  if (set === undefined) throw new Error(`there is no set ${name}`)
  const workingSet = workingSetFromBytes(Buffer.from(set.workingSet, 'base64'), name)
  const { pages, written } = workingSet
  const zero = pageSetFromRuns(set.zero.map(([start, count]) => ({ start, count })))
  const classes = classify({ present: presentPages(workingSet), written, zero, pages })
  const of = (it: PageClass): number => classes.sets[it].counts.reduce((sum, count) => sum + count, 0)
  const picture = heatMapPng(classes, { columns }).toString('base64')
  const [width, height] = [columns * scale, Math.ceil(pages / columns) * scale]
  const entries = legend.map(({ of: it, label, left }) => {
    const [x, y] = [margin + left, top + height + 24]
    const swatch = `<rect x="${x}" y="${y - 10}" width="11" height="11" fill="${colour(it)}" stroke="#24313a" stroke-opacity=".25"/>`
    return swatch + text(x + 17, y, `${label}: ${mib(of(it))}`, { size: 12 })
  })
  const touched = mib(of('read-only') + of('written'))
  return svg(
    width + 2 * margin,
    top + height + 44,
    `Page map of a ${pages / 256} MiB guest: one function call touches ${touched}`,
    [
      text(
        margin,
        30,
        `A restored ${pages / 256} MiB Linux guest answers one call of a Python function: it touches ${touched}`,
        {
          size: 15,
          bold: true,
        },
      ),
      text(
        margin,
        50,
        'Each pixel is a page of 4 KiB, row by row. Recorded by Varve from the page faults of a real VM.',
        {
          size: 12.5,
          colour: '#5c6b73',
        },
      ),
      `<image x="${margin}" y="${top}" width="${width}" height="${height}" style="image-rendering:pixelated" href="data:image/png;base64,${picture}"/>`,
      ...entries,
    ],
  )
}
