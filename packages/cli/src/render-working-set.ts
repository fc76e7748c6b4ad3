import type { OpenSnapshot } from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'
import {
  cellCounts,
  intersect,
  type PageClass,
  type PageClasses,
  presentPages,
  type WorkingSet,
} from 'varve/working-sets'
import { count, cut, humanPages, printable, sections, shortId, table } from './text.js'

const columns = 64
const mostRows = 24

/** From the busiest class to the idlest: a cell shows the busiest of its pages. */
const marks: readonly (readonly [PageClass, string])[] = [
  ['written', '█'],
  ['read-only', '▒'],
  ['cold', '·'],
  ['zero', ' '],
]

/** A heat map for a terminal: the image in memory-file order, row by row. */
export function textMap(classes: PageClasses): string {
  const rows = Math.max(1, Math.min(mostRows, Math.ceil(classes.pages / columns)))
  const size = { columns, rows }
  const cells = marks.map(([name, mark]) => ({
    mark,
    counts: cellCounts(classes.sets[name], classes.pages, size),
  }))
  const lines = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => {
      const cell = row * columns + column
      return cells.find(({ counts }) => (counts[cell] as number) > 0)?.mark ?? ' '
    }).join(''),
  )
  const edge = `+${'-'.repeat(columns)}+`
  const legend = marks.map(([name, mark]) => `${mark === ' ' ? '(blank)' : mark} ${name}`).join('   ')
  return [edge, ...lines.map((line) => `|${line}|`), edge, legend].join('\n')
}

export interface LayerClasses {
  /** Number of the layer, base first; null for pages that are zero. */
  readonly layer: number | null
  readonly image: string | null
  readonly imagePages: number
  readonly readOnly: number
  readonly written: number
}

/** Where the image's pages come from, and how many of them the set has in each class. */
export function classesPerLayer(
  workingSet: WorkingSet,
  { map, layers }: Pick<OpenSnapshot, 'map' | 'layers'>,
): LayerClasses[] {
  const row = (source: number, layer: number | null, image: string | null): LayerClasses => {
    const pages = pagesFrom(map, source)
    return {
      layer,
      image,
      imagePages: pages.pages,
      readOnly: intersect(workingSet.readOnly, pages).pages,
      written: intersect(workingSet.written, pages).pages,
    }
  }
  return [
    ...layers.map(({ annotations }, i) => row(i, i, annotations?.['dev.varve.image'] ?? null)),
    row(zeroSource, null, null),
  ]
}

export function renderWorkingSet(
  workingSet: WorkingSet,
  perLayer: readonly LayerClasses[] | undefined,
  map: string | undefined,
): string {
  const { image, pages, recordedAtMs, windowMs, readOnly, written, groups, notes } = workingSet
  const present = presentPages(workingSet)
  const share = ((100 * present.pages) / pages).toFixed(1)
  return sections([
    table([
      ['image', image],
      ['recorded', `${new Date(recordedAtMs).toISOString()}, for ${(windowMs / 1000).toFixed(1)} s`],
      [
        'touched',
        `${count(present.pages, 'page')}, ${humanPages(present.pages)}, ${share} % of ${humanPages(pages)}`,
      ],
      ['read-only', `${count(readOnly.pages, 'page')}, ${humanPages(readOnly.pages)}`],
      ['written', `${count(written.pages, 'page')}, ${humanPages(written.pages)}`],
      ['groups', groups.length === 0 ? 'none: the order is not known' : groupsText(groups)],
      ['recorders', recordersText(notes)],
    ]),
    perLayer &&
      table(
        [
          ['LAYER', 'IMAGE', 'PAGES', 'READ-ONLY', 'WRITTEN', 'UNTOUCHED'],
          ...perLayer.map((it) => [
            it.layer === null ? 'zero' : String(it.layer),
            it.image === null ? '-' : shortId(it.image),
            String(it.imagePages),
            String(it.readOnly),
            String(it.written),
            String(it.imagePages - it.readOnly - it.written),
          ]),
        ],
        { right: [0, 2, 3, 4, 5] },
      ),
    map,
  ])
}

/** As the recorders of this Varve say it; other notes are in --json. */
function recordersText({ recorders, exact, combined }: WorkingSet['notes']): string {
  const text = JSON.stringify(combined ?? { recorders, exact }) ?? ''
  return printable(cut(text.replace(/[{}"]/g, '').replace(/[:,]/g, '$& '), 84))
}

const groupsText = (groups: WorkingSet['groups']) => {
  const [first, last] = [groups[0], groups.at(-1)]
  return `${groups.length}, touched ${first?.atMs ?? 0} to ${last?.atMs ?? 0} ms after the begin`
}
