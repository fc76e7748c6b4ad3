import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { pagesOf } from '../memory/page-set.js'
import {
  clipWorkingSet,
  commonOfWorkingSets,
  intersectWorkingSets,
  minusWorkingSets,
  unionOfWorkingSets,
  withGapsMerged,
} from './combine.js'
import { checkWorkingSet, presentPages, type WorkingSet } from './working-set.js'

const image = '00112233445566778899aabbccddeeff'
const pages = 64

/** Each page untouched, read, or written; touched ones in one of three groups, or in none. */
const workingSet: fc.Arbitrary<WorkingSet> = fc
  .array(fc.tuple(fc.constantFrom('-', 'r', 'w'), fc.nat(3)), { minLength: pages, maxLength: pages })
  .map((plan) => {
    const where = (is: (it: [string, number]) => boolean) =>
      pageSetFromPages([...plan.keys()].filter((page) => is(plan[page] as [string, number])))
    return {
      image,
      pages,
      recordedAtMs: 5,
      windowMs: 9,
      readOnly: where(([kind]) => kind === 'r'),
      written: where(([kind]) => kind === 'w'),
      groups: [0, 1, 2]
        .map((group) => ({ atMs: group * 10, set: where(([kind, it]) => kind !== '-' && it === group) }))
        .filter(({ set }) => set.pages > 0),
      notes: {},
    }
  })
const several = fc.array(workingSet, { minLength: 1, maxLength: 4 })

const list = (set: Parameters<typeof pagesOf>[0]) => [...pagesOf(set)]
const has = (set: WorkingSet, page: number) => list(presentPages(set)).includes(page)
const wrote = (set: WorkingSet, page: number) => list(set.written).includes(page)
const firstTouch = (set: WorkingSet, page: number) =>
  set.groups.find((group) => list(group.set).includes(page))?.atMs
const all = Array.from({ length: pages }, (_, page) => page)

function expectCombined(result: WorkingSet, sets: readonly WorkingSet[], belongs: (page: number) => boolean) {
  checkWorkingSet(result)
  expect(list(presentPages(result))).toEqual(all.filter(belongs))
  expect(list(result.written)).toEqual(
    all.filter((page) => belongs(page) && sets.some((it) => wrote(it, page))),
  )
  for (const page of all.filter(belongs)) {
    const times = sets.map((it) => firstTouch(it, page)).filter((time) => time !== undefined)
    expect(firstTouch(result, page)).toBe(times.length === 0 ? undefined : Math.min(...times))
  }
}

describe('combining working sets', () => {
  test('union, intersect and at least k of n are what they say, page by page', () => {
    fc.assert(
      fc.property(several, fc.nat(), (sets, number) => {
        const least = 1 + (number % sets.length)
        const having = (page: number) => sets.filter((it) => has(it, page)).length
        expectCombined(unionOfWorkingSets(sets), sets, (page) => having(page) >= 1)
        expectCombined(intersectWorkingSets(sets), sets, (page) => having(page) === sets.length)
        expectCombined(commonOfWorkingSets(sets, least), sets, (page) => having(page) >= least)
      }),
      { numRuns: 60 },
    )
  })

  test('minus keeps what the first alone has', () => {
    fc.assert(
      fc.property(workingSet, workingSet, (a, b) => {
        expectCombined(minusWorkingSets(a, b), [a, b], (page) => has(a, page) && !has(b, page))
      }),
      { numRuns: 40 },
    )
  })

  test('filled gaps are read-only; no page that was written changes its class', () => {
    fc.assert(
      fc.property(workingSet, fc.nat(8), (set, gap) => {
        const merged = withGapsMerged(set, gap)
        checkWorkingSet(merged)
        expect(merged.written).toEqual(set.written)
        const touched = list(presentPages(set))
        const filled = all.filter((page) => {
          const before = touched.filter((it) => it <= page).at(-1)
          const after = touched.find((it) => it >= page)
          return before !== undefined && after !== undefined && after - before - 1 <= gap
        })
        expect(list(presentPages(merged))).toEqual(filled)
      }),
      { numRuns: 60 },
    )
  })

  test('clipped, the pages touched first stay', () => {
    fc.assert(
      fc.property(workingSet, fc.nat(70), (set, maxPages) => {
        const clipped = clipWorkingSet(set, maxPages)
        checkWorkingSet(clipped)
        const order = list(presentPages(set)).sort(
          (a, b) => (firstTouch(set, a) ?? 99) - (firstTouch(set, b) ?? 99) || a - b,
        )
        const kept = order.slice(0, maxPages).sort((a, b) => a - b)
        expect(list(presentPages(clipped))).toEqual(kept)
        for (const page of kept) expect(wrote(clipped, page)).toBe(wrote(set, page))
      }),
      { numRuns: 60 },
    )
  })

  test('sets of other images, no sets, and k beyond their number are refused', () => {
    const [set] = fc.sample(workingSet, 1) as [WorkingSet]
    const other = { ...set, image: 'ffeeddccbbaa99887766554433221100' }
    expect(() => unionOfWorkingSets([set, other])).toThrow(
      expect.objectContaining({ code: 'IMAGE_MISMATCH' }),
    )
    expect(() => unionOfWorkingSets([])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    for (const least of [0, 2, 1.5])
      expect(() => commonOfWorkingSets([set], least)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      )
  })
})
