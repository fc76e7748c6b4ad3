import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { has, pagesOf } from '../memory/page-set.js'
import { complement, minus, unionAll } from '../memory/page-set-algebra.js'
import { composeExtentMap, stackLayer, zeroMap } from './compose-extent-map.js'
import { type ExtentMap, imagePages, lookupPage, pagesFrom } from './extent-map.js'
import { extentMapFromJson, extentMapToJson } from './extent-map-json.js'
import { flatIndex } from './layer-index.js'
import type { LayerIndex } from './layer-types.js'

const pages = 48

/** Each page of a layer: 0 absent, 1 data, 2 zero. */
const layerPlan = fc.array(fc.nat(2), { minLength: pages, maxLength: pages })
const stack = fc.array(layerPlan, { minLength: 1, maxLength: 6 })

function layerOf(plan: readonly number[]): LayerIndex {
  const where = (kind: number) =>
    pageSetFromPages(plan.flatMap((value, page) => (value === kind ? [page] : [])))
  return flatIndex(plan.length, where(1), where(2))
}

/** What the map should say, page by page: the topmost layer that names the page. */
function naive(plans: readonly (readonly number[])[]): number[] {
  return Array.from({ length: pages }, (_, page) => {
    for (let index = plans.length - 1; index >= 0; index--) {
      const kind = plans[index]?.[page]
      if (kind === 1) return index
      if (kind === 2) return -1
    }
    return -1
  })
}

function expectCanonical(map: ExtentMap): void {
  let page = 0
  for (let i = 0; i < map.starts.length; i++) {
    expect(map.starts[i]).toBe(page)
    expect(map.counts[i]).toBeGreaterThan(0)
    page += map.counts[i] as number
    if (i > 0 && map.sources[i] === map.sources[i - 1]) {
      expect(map.sources[i]).not.toBe(-1)
      expect(map.storedStarts[i]).not.toBe(
        (map.storedStarts[i - 1] as number) + (map.counts[i - 1] as number),
      )
    }
  }
  expect(page).toBe(map.pages)
}

describe('extent map', () => {
  test('names the topmost layer of each page, whatever the stack', () => {
    fc.assert(
      fc.property(stack, (plans) => {
        const map = composeExtentMap(plans.map((plan) => layerOf(plan)))
        expectCanonical(map)
        const expected = naive(plans)
        for (let page = 0; page < pages; page++) {
          const { source, storedPage, count } = lookupPage(map, page)
          expect(source).toBe(expected[page])
          expect(storedPage).toBe(source === -1 ? 0 : page)
          for (let next = page; next < page + count; next++) expect(expected[next]).toBe(source)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('a child from its parent’s map alone equals the composed chain', () => {
    fc.assert(
      fc.property(stack, layerPlan, (plans, child) => {
        const layers = plans.map((plan) => layerOf(plan))
        const stacked = stackLayer(composeExtentMap(layers), layerOf(child), plans.length)
        expect(stacked).toEqual(composeExtentMap([...layers, layerOf(child)]))
      }),
    )
  })

  test('the pages of all sources are a partition of the image', () => {
    fc.assert(
      fc.property(stack, (plans) => {
        const map = composeExtentMap(plans.map((plan) => layerOf(plan)))
        const parts = [-1, ...plans.keys()].map((source) => pagesFrom(map, source))
        expect(parts.reduce((sum, part) => sum + part.pages, 0)).toBe(pages)
        expect(complement(unionAll(parts), pages).pages).toBe(0)
      }),
    )
  })

  test('a stored page stands for an image page only where the image takes it from there', () => {
    fc.assert(
      fc.property(stack, fc.array(fc.nat(pages - 1)), (plans, touched) => {
        const map = composeExtentMap(plans.map((plan) => layerOf(plan)))
        const expected = naive(plans)
        for (const index of plans.keys())
          expect([...pagesOf(imagePages(map, index, pageSetFromPages(touched)))]).toEqual(
            [...new Set(touched)].filter((page) => expected[page] === index).sort((a, b) => a - b),
          )
      }),
    )
  })

  test('a map whose stored pages are shifted translates by the shift', () => {
    const map = extentMapFromJson({ pages: 10, runs: [2, -1, 0, 5, 0, 100, 3, 0, 0] }, [200])
    expect([...pagesOf(imagePages(map, 0, pageRange(99, 3)))]).toEqual([2, 3])
    expect([...pagesOf(imagePages(map, 0, pageSetFromPages([1, 104, 105])))]).toEqual([6, 8])
    expect(lookupPage(map, 4)).toEqual({ source: 0, storedPage: 102, count: 3 })
  })

  test('refuses layers of another size, and pages outside the image', () => {
    const map = zeroMap(4)
    expect(() => stackLayer(map, layerOf([1, 1]), 0)).toThrow(/2 pages.*4/)
    expect(() => lookupPage(map, 4)).toThrow('page 4')
    expect(() => composeExtentMap([])).toThrow('at least one layer')
    expect(() => flatIndex(4, pageRange(0, 3), pageRange(2, 1))).toThrow('overlaps')
    expect(() => flatIndex(4, pageRange(0, 3), pageRange(3, 2))).toThrow('4 pages')
    const overlapping = { ...layerOf([1, 0, 1, 0]), counts: Uint32Array.of(3, 1) }
    expect(() => stackLayer(map, overlapping, 0)).toThrow('overlaps')
  })

  test('its cost does not depend on depth: 1,000 layers leave only the runs that still show', () => {
    const none = pageRange(0, 0)
    const chain = Array.from({ length: 1000 }, (_, i) => flatIndex(1000, pageRange(i, 1000 - i), none))
    const top = flatIndex(1000, pageRange(10, 980), minus(pageRange(0, 1000), pageRange(0, 990)))
    expect(composeExtentMap([...chain, top]).starts.length).toBe(12)
  })
})

describe('JSON form', () => {
  test('round trip', () => {
    fc.assert(
      fc.property(stack, (plans) => {
        const map = composeExtentMap(plans.map((plan) => layerOf(plan)))
        const json: unknown = JSON.parse(JSON.stringify(extentMapToJson(map)))
        expect(
          extentMapFromJson(
            json,
            plans.map(() => pages),
          ),
        ).toEqual(map)
      }),
    )
  })

  test('anything else is FORMAT_INVALID or a map within its layers', () => {
    const value = fc.oneof(
      fc.anything(),
      fc.record({ pages: fc.integer({ min: -1, max: 9 }), runs: fc.array(fc.integer({ min: -2, max: 9 })) }),
    )
    fc.assert(
      fc.property(value, (hostile) => {
        try {
          const map = extentMapFromJson(hostile, [8, 3])
          expectCanonical(map)
          for (const index of [0, 1])
            for (const page of pagesOf(pagesFrom(map, index)))
              expect(lookupPage(map, page).storedPage).toBeLessThan([8, 3][index] as number)
        } catch (error) {
          expect(isVarveError(error, 'FORMAT_INVALID')).toBe(true)
        }
      }),
    )
    const bad: unknown[] = [
      { pages: 4, runs: [3, 0, 0] },
      { pages: 4, runs: [5, 0, 0] },
      { pages: 4, runs: [4, 1, 0] },
      { pages: 4, runs: [4, 0, 1] },
      { pages: 4, runs: [4, -1, 1] },
      { pages: 2 ** 32, runs: [4, -1, 0] },
      { pages: 4, runs: [4, 0] },
      { pages: 0, runs: [] },
    ]
    for (const entry of bad) expect(() => extentMapFromJson(entry, [4])).toThrow('extent map')
    expect(has(pagesFrom(extentMapFromJson({ pages: 4, runs: [4, 0, 0] }, [4]), 0), 3)).toBe(true)
  })
})
