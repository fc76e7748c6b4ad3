import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { classify, classOf, countClasses } from './classes.js'
import { cellCounts, dominantClass, heatMap } from './heat-map.js'
import { pageRange, pageSetFromPages } from './make-page-set.js'
import { equals, pagesOf } from './page-set.js'
import { clip, minus } from './page-set-algebra.js'

const pageList = fc.array(fc.nat(79), { maxLength: 60 })

describe('classify', () => {
  test('is a partition in which read-only = present − written', () => {
    fc.assert(
      fc.property(pageList, pageList, pageList, fc.integer({ min: 1, max: 64 }), (p, w, z, pages) => {
        const present = pageSetFromPages(p)
        const written = pageSetFromPages(w)
        const classes = classify({ present, written, zero: pageSetFromPages(z), pages })
        for (let page = 0; page < pages; page++) {
          const expected = w.includes(page)
            ? 'written'
            : p.includes(page)
              ? 'read-only'
              : z.includes(page)
                ? 'zero'
                : 'cold'
          expect(classOf(classes, page)).toBe(expected)
        }
        expect(equals(classes.sets['read-only'], clip(minus(present, written), 0, pages))).toBe(true)
        const counts = countClasses(classes)
        expect(counts.zero + counts.cold + counts['read-only'] + counts.written).toBe(pages)
      }),
    )
  })
})

describe('heat map', () => {
  test('every page is counted in the one cell that covers it', () => {
    fc.assert(
      fc.property(
        pageList,
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        (list, pages, columns, rows) => {
          const set = pageSetFromPages(list)
          const cells = columns * rows
          const expected = new Array<number>(cells).fill(0)
          for (const page of pagesOf(clip(set, 0, pages)))
            for (let cell = 0; cell < cells; cell++)
              if (
                Math.floor((cell * pages) / cells) <= page &&
                page < Math.floor(((cell + 1) * pages) / cells)
              )
                expected[cell] = (expected[cell] as number) + 1
          expect([...cellCounts(set, pages, { columns, rows })]).toEqual(expected)
        },
      ),
    )
  })

  test('stays exact for the largest image and grid', () => {
    const pages = 2 ** 32 - 1
    const counts = cellCounts(pageRange(0, pages), pages, { columns: 1024, rows: 1024 })
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(pages)
    expect(new Set(counts)).toEqual(new Set([4095, 4096]))
  })

  test('shows the class with the most pages, none for an empty cell', () => {
    const map = heatMap(
      classify({
        present: pageRange(0, 6),
        written: pageRange(3, 3),
        zero: pageRange(8, 2),
        pages: 10,
      }),
      { columns: 10, rows: 2 },
    )
    const drawn = Array.from({ length: 20 }, (_, cell) => dominantClass(map, cell)).filter(
      (c) => c !== undefined,
    )
    expect(drawn).toEqual([
      ...['read-only', 'read-only', 'read-only', 'written', 'written', 'written'],
      ...['cold', 'cold', 'zero', 'zero'],
    ])
  })

  test('refuses a grid without cells or with too many', () => {
    for (const size of [
      { columns: 0, rows: 1 },
      { columns: 1.5, rows: 2 },
      { columns: 2048, rows: 1024 },
    ])
      expect(() => cellCounts(pageRange(0, 1), 1, size)).toThrow('heat map')
  })
})
