import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { pagesOf } from '../memory/page-set.js'
import { lookupPage, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { pagesByLayer, placesOf } from './pages-by-layer.js'

const layers = 3

const anyMap = fc
  .array(
    fc.record({
      count: fc.integer({ min: 1, max: 9 }),
      source: fc.integer({ min: zeroSource, max: layers - 1 }),
      page: fc.integer({ min: 0, max: 99 }),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((runs) => {
    const builder = new ExtentMapBuilder(runs.length)
    for (const { count, source, page } of runs) builder.add(count, source, source === zeroSource ? 0 : page)
    return builder.finish()
  })

test('each page of a set is found in the layer that it comes from, and no other', () => {
  fc.assert(
    fc.property(anyMap, fc.array(fc.nat(120), { maxLength: 60 }), (map, pages) => {
      const set = pageSetFromPages(pages)
      const inside = [...pagesOf(set)].filter((page) => page < map.pages)
      const expected = Array.from({ length: layers }, (_, layer) =>
        [
          ...new Set(
            inside
              .map((page) => lookupPage(map, page))
              .filter(({ source }) => source === layer)
              .map(({ storedPage }) => storedPage),
          ),
        ].sort((a, b) => a - b),
      )
      expect(pagesByLayer(map, layers, set).map((it) => [...pagesOf(it)])).toEqual(expected)
      const places = [...placesOf(map, set)].flatMap(({ source, start, storedPage, count }) =>
        Array.from({ length: count }, (_, i) => [start + i, source, storedPage + i]),
      )
      expect(places).toEqual(
        inside
          .map((page) => ({ page, ...lookupPage(map, page) }))
          .filter(({ source }) => source !== zeroSource)
          .map(({ page, source, storedPage }) => [page, source, storedPage]),
      )
    }),
  )
})
