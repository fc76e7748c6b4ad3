import { VarveError } from 'varve'
import {
  type PageClass,
  type PageClasses,
  type PageSet,
  presentPages,
  type WorkingSet,
} from 'varve/working-sets'
import { type Colour, encodePng } from './png.js'

/**
 * docs/guides/heat-maps.md shows them all; the page that `npm run demo` writes has
 * the same ones on light ground.
 */
export const classColours: Readonly<Record<PageClass, Colour>> = {
  zero: [0xe8, 0xeb, 0xee],
  cold: [0x9f, 0xb8, 0xad],
  'read-only': [0xe0, 0xa4, 0x58],
  written: [0xc8, 0x55, 0x3d],
}

/** What lies behind the image in the last row of pixels. */
const nothing: Colour = [0xff, 0xff, 0xff, 0]

const untouched: Colour = [0xe8, 0xeb, 0xee]
const withoutGroup: Colour = [0x9a, 0xa0, 0xa6]

/**
 * Early to late: five colours of viridis (matplotlib, CC0), which stay apart in
 * grey and for the colour-blind.
 */
const time: readonly Colour[] = [
  [0x44, 0x01, 0x54],
  [0x3b, 0x52, 0x8b],
  [0x21, 0x91, 0x8c],
  [0x5e, 0xc9, 0x62],
  [0xfd, 0xe7, 0x25],
]

/** What is left of a palette of 256 for groups. More of them share colours with their neighbours. */
const mostGroupColours = 253

/** 256 GiB of guest at a page a pixel; 64 MiB of pixels. */
const maxPixels = 2 ** 26

export interface HeatMapPngOptions {
  /** Pixels a row: with 512, 1 GiB of guest is a square. */
  readonly columns?: number
  /** Pages a pixel, one after the other. A pixel is drawn as the busiest of its pages. */
  readonly pagesPerPixel?: number
}

/**
 * A picture of an image in memory-file order, row by row, in the colours of the pages' classes: written over
 * read-only over cold over zero.
 */
export function heatMapPng({ pages, sets }: PageClasses, options: HeatMapPngOptions = {}): Buffer {
  const order: readonly PageClass[] = ['zero', 'cold', 'read-only', 'written']
  return draw(
    pages,
    order.map((name) => ({ set: sets[name], colour: classColours[name] })),
    options,
  )
}

/**
 * The same picture in the colours of when pages were first touched, by group: dark violet for the first to
 * yellow for the last, the earliest of a pixel on top; grey for pages of the set that are in no group.
 */
export function groupMapPng(workingSet: WorkingSet, options: HeatMapPngOptions = {}): Buffer {
  const { pages, groups } = workingSet
  const colours = Math.min(groups.length, mostGroupColours)
  const layers = groups.map(({ set }, group) => ({
    set,
    colour: timeColour(Math.floor((group * colours) / groups.length), colours),
  }))
  return draw(
    pages,
    [
      { set: wholeImage(pages), colour: untouched },
      { set: presentPages(workingSet), colour: withoutGroup },
      ...layers.reverse(),
    ],
    options,
  )
}

function timeColour(step: number, steps: number): Colour {
  const place = steps < 2 ? 0 : (step / (steps - 1)) * (time.length - 1)
  const from = Math.min(Math.floor(place), time.length - 2)
  const mix = (channel: 0 | 1 | 2): number => {
    const [low, high] = [(time[from] as Colour)[channel], (time[from + 1] as Colour)[channel]]
    return Math.round(low + (high - low) * (place - from))
  }
  return [mix(0), mix(1), mix(2)]
}

const wholeImage = (pages: number): PageSet => ({
  starts: Uint32Array.of(0),
  counts: Uint32Array.of(pages),
  pages,
})

interface Layer {
  readonly set: PageSet
  readonly colour: Colour
}

/** Paints each layer over those before it. */
function draw(
  pages: number,
  layers: readonly Layer[],
  { columns = 512, pagesPerPixel = 1 }: HeatMapPngOptions,
): Buffer {
  if (!Number.isInteger(columns) || columns < 1 || !Number.isInteger(pagesPerPixel) || pagesPerPixel < 1)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `a picture of ${columns} columns with ${pagesPerPixel} pages a pixel: both are whole numbers from 1 on`,
    )
  const rows = Math.ceil(Math.ceil(pages / pagesPerPixel) / columns)
  if (columns * rows > maxPixels)
    throw new VarveError('INVALID_ARGUMENT', `a picture of ${columns} × ${rows} pixels is above 2^26`, {
      remedy: `draw at least ${Math.ceil(pages / maxPixels)} pages a pixel, or fewer columns`,
    })
  const pixels = new Uint8Array(columns * rows)
  const palette: Colour[] = [nothing]
  for (const { set, colour } of layers) {
    const known = palette.findIndex((it) => it.every((value, channel) => value === colour[channel]))
    const number = known < 0 ? palette.push(colour) - 1 : known
    for (let i = 0; i < set.starts.length; i++) {
      const start = set.starts[i] as number
      const end = Math.min(start + (set.counts[i] as number), pages)
      pixels.fill(number, Math.floor(start / pagesPerPixel), Math.ceil(end / pagesPerPixel))
    }
  }
  return encodePng({ width: columns, height: rows, pixels, palette })
}
