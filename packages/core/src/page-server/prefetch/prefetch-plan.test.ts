import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lookupPage } from '../../layer/extent-map.js'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import { pageRange, pageSetFromPages } from '../../memory/make-page-set.js'
import { emptyPageSet } from '../../memory/page-set.js'
import { minus, union } from '../../memory/page-set-algebra.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import { maxPiecePages, prefetchPlan } from './prefetch-plan.js'

const map = extentMapFromJson(
  { pages: 3000, runs: [100, 0, 0, 1600, -1, 0, 100, 1, 7, 200, -1, 0, 1000, 0, 100] },
  [1100, 107],
)
const setOf = (parts: Partial<WorkingSet>): WorkingSet => ({
  image: '1'.repeat(32),
  pages: 3000,
  recordedAtMs: 0,
  windowMs: 1,
  readOnly: emptyPageSet,
  written: emptyPageSet,
  groups: [],
  notes: {},
  ...parts,
})

test('groups come in their order, what no group has comes last, and runs are cut where their source changes', () => {
  const plan = prefetchPlan(
    setOf({
      readOnly: pageRange(90, 20),
      written: pageSetFromPages([1750, 5]),
      groups: [
        { atMs: 1, set: pageSetFromPages([1750]) },
        { atMs: 2, set: pageRange(95, 10) },
      ],
    }),
    map,
  )
  expect(plan).toEqual([
    { page: 1750, pages: 1, source: 1, storedPage: 57 },
    { page: 95, pages: 5, source: 0, storedPage: 95 },
    { page: 100, pages: 5, source: -1, storedPage: 0 },
    { page: 5, pages: 1, source: 0, storedPage: 5 },
    { page: 90, pages: 5, source: 0, storedPage: 90 },
    { page: 105, pages: 5, source: -1, storedPage: 0 },
  ])
})

test('a plan is each page of the set once, from where the image has it, in bounded pieces', () => {
  const pages = fc.uniqueArray(fc.record({ at: fc.nat(2999), count: fc.integer({ min: 1, max: 900 }) }), {
    maxLength: 12,
  })
  fc.assert(
    fc.property(pages, pages, (first, second) => {
      const set = (runs: typeof first) =>
        pageSetFromPages(
          runs.flatMap(({ at, count }) =>
            Array.from({ length: Math.min(count, 3000 - at) }, (_, i) => at + i),
          ),
        )
      const readOnly = set(first)
      const written = minus(set(second), readOnly)
      const plan = prefetchPlan(
        setOf({ readOnly, written, groups: written.pages > 0 ? [{ atMs: 0, set: written }] : [] }),
        map,
      )
      const planned: number[] = []
      const wrong: unknown[] = []
      for (const piece of plan) {
        expect(piece.pages).toBeLessThanOrEqual(maxPiecePages)
        for (let i = 0; i < piece.pages; i++) {
          const { source, storedPage } = lookupPage(map, piece.page + i)
          if (source !== piece.source || storedPage !== (source < 0 ? 0 : piece.storedPage + i))
            wrong.push(piece)
          planned.push(piece.page + i)
        }
      }
      expect(wrong).toEqual([])
      expect(planned).toHaveLength(readOnly.pages + written.pages)
      expect(pageSetFromPages(planned)).toEqual(union(readOnly, written))
    }),
    { numRuns: 50 },
  )
})
