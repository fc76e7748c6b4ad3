import { crc32, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import { isVarveError } from 'varve'
import {
  classify,
  classOf,
  emptyPageSet,
  pageRange,
  pageSetFromPages,
  type WorkingSet,
} from 'varve/working-sets'
import { describe, expect, test } from 'vitest'
import { classColours, groupMapPng, heatMapPng } from './heat-map-png.js'
import { type Colour, encodePng } from './png.js'

interface Decoded {
  readonly width: number
  readonly height: number
  /** Per pixel "#rrggbb", or "clear". */
  readonly colours: readonly string[]
  readonly chunks: readonly string[]
}

/** Reads what `encodePng` may write, by the letter of the specification. */
function decode(png: Buffer): Decoded {
  expect(png.toString('latin1', 0, 8)).toBe('\x89PNG\r\n\x1a\n')
  const chunks = new Map<string, Buffer>()
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at)
    const body = png.subarray(at + 4, at + 8 + length)
    expect(png.readUInt32BE(at + 8 + length)).toBe(crc32(body))
    chunks.set(body.toString('latin1', 0, 4), body.subarray(4))
    at += 12 + length
  }
  const header = chunks.get('IHDR') as Buffer
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)]
  // 8 bits, palette, deflate, the five filters, not interlaced.
  expect([...header.subarray(8)]).toEqual([8, 3, 0, 0, 0])
  const palette = chunks.get('PLTE') as Buffer
  const opacity = chunks.get('tRNS')
  const lines = inflateSync(chunks.get('IDAT') as Buffer)
  expect(lines.length).toBe((width + 1) * height)
  const named = Array.from({ length: palette.length / 3 }, (_, number) =>
    (opacity?.[number] ?? 255) === 0 ? 'clear' : hex(palette.subarray(3 * number, 3 * number + 3)),
  )
  const colours: string[] = []
  for (let row = 0; row < height; row++) {
    const line = lines.subarray(row * (width + 1), (row + 1) * (width + 1))
    expect(line[0]).toBe(0)
    for (const number of line.subarray(1)) colours.push(named[number] ?? `no colour ${number}`)
  }
  return { width, height, colours, chunks: [...chunks.keys()] }
}

const hex = (colour: Uint8Array | Colour): string => `#${Buffer.from(colour as Uint8Array).toString('hex')}`

const pageList = fc.array(fc.nat(99), { maxLength: 40 })
const grid = fc.record({
  columns: fc.integer({ min: 1, max: 16 }),
  pagesPerPixel: fc.integer({ min: 1, max: 5 }),
})

describe('PNG', () => {
  test('gives every pixel back', () => {
    const byte = fc.nat(255)
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.tuple(byte, byte, byte, fc.constantFrom(0, 255)), { minLength: 1, maxLength: 256 }),
        fc.infiniteStream(byte),
        (width, height, palette, stream) => {
          const pixels = Uint8Array.from(stream.take(width * height), (value) => value % palette.length)
          const decoded = decode(encodePng({ width, height, pixels, palette }))
          expect(decoded).toMatchObject({ width, height })
          const asText = ([red, green, blue, alpha]: Colour) =>
            alpha === 0 ? 'clear' : hex([red, green, blue])
          expect(decoded.colours).toEqual(Array.from(pixels, (number) => asText(palette[number] as Colour)))
        },
      ),
    )
  })

  test('has no opacity where all is opaque, and its chunks in order', () => {
    const one = { width: 1, height: 1, pixels: Uint8Array.of(0) }
    expect(decode(encodePng({ ...one, palette: [[1, 2, 3]] })).chunks).toEqual([
      'IHDR',
      'PLTE',
      'IDAT',
      'IEND',
    ])
    expect(decode(encodePng({ ...one, palette: [[1, 2, 3, 0]] })).chunks).toEqual([
      ...['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND'],
    ])
  })

  test('is refused for pixels that do not fit, and for too many colours', () => {
    const palette: Colour[] = [[0, 0, 0]]
    const make = (width: number, height: number, colours: readonly Colour[]) => () =>
      encodePng({ width, height, pixels: new Uint8Array(6), palette: colours })
    expect(make(2, 3, palette)).not.toThrow()
    expect(make(2, 2, palette)).toThrow(/6 pixels/)
    expect(make(0, 6, palette)).toThrow(/6 pixels/)
    expect(make(2, 3, [])).toThrow(/0 colours/)
    expect(make(2, 3, Array<Colour>(257).fill([0, 0, 0]))).toThrow(/257 colours/)
  })
})

describe('heat map as PNG', () => {
  test('draws each pixel as the busiest class of its pages', () => {
    fc.assert(
      fc.property(
        pageList,
        pageList,
        pageList,
        fc.integer({ min: 1, max: 90 }),
        grid,
        (p, w, z, pages, size) => {
          const classes = classify({
            present: pageSetFromPages(p),
            written: pageSetFromPages(w),
            zero: pageSetFromPages(z),
            pages,
          })
          const { width, height, colours } = decode(heatMapPng(classes, size))
          expect(width).toBe(size.columns)
          expect(height).toBe(Math.ceil(Math.ceil(pages / size.pagesPerPixel) / size.columns))
          for (const [pixel, colour] of colours.entries()) {
            const first = pixel * size.pagesPerPixel
            const inPixel = Array.from({ length: Math.min(size.pagesPerPixel, pages - first) }, (_, i) =>
              classOf(classes, first + i),
            )
            const busiest = (['written', 'read-only', 'cold', 'zero'] as const).find((name) =>
              inPixel.includes(name),
            )
            expect(colour).toBe(busiest === undefined ? 'clear' : hex(classColours[busiest]))
          }
        },
      ),
    )
  })

  test('is 512 × 512 pixels for 1 GiB of guest', () => {
    const classes = classify({
      present: pageRange(512, 2),
      written: pageRange(262_143, 1),
      zero: pageRange(0, 512),
      pages: 262_144,
    })
    const { width, height, colours } = decode(heatMapPng(classes))
    expect([width, height]).toEqual([512, 512])
    const at = (column: number, row: number) => colours[512 * row + column]
    expect([at(0, 0), at(511, 0), at(0, 1), at(2, 1)]).toEqual(['#e8ebee', '#e8ebee', '#e0a458', '#9fb8ad'])
    expect([at(510, 511), at(511, 511)]).toEqual(['#9fb8ad', '#c8553d'])
  })

  test('is refused where it would be huge or of no size', () => {
    const classes = classify({
      present: emptyPageSet,
      written: emptyPageSet,
      zero: emptyPageSet,
      pages: 2 ** 26 + 1,
    })
    const codeOf = (options: Parameters<typeof heatMapPng>[1]) => {
      try {
        heatMapPng(classes, options)
      } catch (error) {
        return isVarveError(error) ? error.code : error
      }
      return 'drawn'
    }
    expect(codeOf({})).toBe('INVALID_ARGUMENT')
    expect(codeOf({ pagesPerPixel: 4096 })).toBe('drawn')
    expect(codeOf({ columns: 0 })).toBe('INVALID_ARGUMENT')
    expect(codeOf({ columns: 1.5 })).toBe('INVALID_ARGUMENT')
    expect(codeOf({ columns: 2 ** 27, pagesPerPixel: 4096 })).toBe('INVALID_ARGUMENT')
    expect(codeOf({ pagesPerPixel: 0 })).toBe('INVALID_ARGUMENT')
  })
})

describe('map of groups as PNG', () => {
  const workingSet = (
    groups: readonly (readonly number[])[],
    noGroup: readonly number[] = [],
  ): WorkingSet => ({
    image: '0102030405060708090a0b0c0d0e0f10',
    pages: 16,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: pageSetFromPages([...groups.flat(), ...noGroup]),
    written: emptyPageSet,
    groups: groups.map((list, atMs) => ({ atMs, set: pageSetFromPages(list) })),
    notes: {},
  })
  const [first, middle, last, none, untouched] = ['#440154', '#21918c', '#fde725', '#9aa0a6', '#e8ebee']

  test('goes from violet to yellow, with grey for pages in no group', () => {
    const { colours } = decode(groupMapPng(workingSet([[1], [2, 3], [5]], [7]), { columns: 8 }))
    expect(colours.slice(0, 8)).toEqual([
      ...[untouched, first, middle, middle, untouched, last, untouched, none],
    ])
    expect(new Set(colours.slice(8))).toEqual(new Set([untouched]))
    expect(decode(groupMapPng(workingSet([[1]]), { columns: 16 })).colours[1]).toBe(first)
    expect(new Set(decode(groupMapPng(workingSet([]), { columns: 16 })).colours)).toEqual(
      new Set([untouched]),
    )
  })

  test('draws the earliest group of a pixel', () => {
    const { colours } = decode(
      groupMapPng(workingSet([[1], [0, 4]], [5, 8]), { columns: 4, pagesPerPixel: 4 }),
    )
    expect(colours).toEqual([first, last, none, untouched])
  })

  test('has a colour for each of 4,096 groups, in order', () => {
    const groups = Array.from({ length: 4096 }, (_, atMs) => ({ atMs, set: pageRange(atMs, 1) }))
    const many = { ...workingSet([]), pages: 4096, readOnly: pageRange(0, 4096), groups }
    const { colours } = decode(groupMapPng(many))
    expect(colours[0]).toBe(first)
    expect(colours[4095]).toBe(last)
    expect(new Set(colours).size).toBe(253)
    // A colour that came back would be one change more.
    expect(colours.filter((colour, page) => colour !== colours[page - 1]).length).toBe(253)
  })
})
