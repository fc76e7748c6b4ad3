import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { composeExtentMap } from '../layer/compose-extent-map.js'
import { type ExtentMap, lookupPage } from '../layer/extent-map.js'
import { flatIndex, packedIndex } from '../layer/layer-index.js'
import type { LayerIndex } from '../layer/layer-types.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { pagesOf } from '../memory/page-set.js'
import { complement, minus } from '../memory/page-set-algebra.js'
import { translateWorkingSet } from './translate.js'
import { checkWorkingSet, type WorkingSet } from './working-set.js'

const pages = 40
const parentImage = '0102030405060708090a0b0c0d0e0f10'
const childImage = '1112131415161718191a1b1c1d1e1f20'

const list = fc.uniqueArray(fc.nat(pages - 1), { maxLength: pages })
/** A layer of data and zero pages; a base says something of every page. */
const layer = (isBase: boolean) =>
  fc.tuple(list, list, fc.boolean()).map(([data, zero, isPacked]): LayerIndex => {
    const dataPages = pageSetFromPages(data)
    const others = isBase ? complement(dataPages, pages) : minus(pageSetFromPages(zero), dataPages)
    const flat = flatIndex(pages, dataPages, others)
    return isPacked ? packedIndex(flat) : flat
  })
const workingSet = fc.tuple(list, list, fc.nat(3)).map(([touched, dirty, count]): WorkingSet => {
  const written = pageSetFromPages(dirty)
  const readOnly = minus(pageSetFromPages(touched), written)
  const first = touched.slice(0, count)
  return {
    image: parentImage,
    pages,
    recordedAtMs: 5,
    windowMs: 6,
    readOnly,
    written,
    groups: [first, touched.slice(count)]
      .map((group, atMs) => ({ atMs, set: pageSetFromPages(group) }))
      .filter(({ set }) => set.pages > 0),
    notes: { guest: 'micro' },
  }
})

/** Where a page comes from, as text: the model of "the same place". */
function place(map: ExtentMap, layers: readonly string[], page: number): string {
  const { source, storedPage } = lookupPage(map, page)
  return source < 0 ? 'zero' : `${layers[source]}:${storedPage}`
}

describe('translating a working set', () => {
  test('keeps just the pages that both images take from the same place', () => {
    fc.assert(
      fc.property(layer(true), layer(false), layer(false), workingSet, (base, one, two, set) => {
        const from = { image: parentImage, map: composeExtentMap([base, one]), layers: ['base', 'one'] }
        // A grandchild of the base that does not have layer one, and one that has it by another number.
        for (const to of [
          { image: childImage, map: composeExtentMap([base, one, two]), layers: ['base', 'one', 'two'] },
          { image: childImage, map: composeExtentMap([base, two]), layers: ['base', 'two'] },
          { image: childImage, map: composeExtentMap([base, two, one]), layers: ['base', 'two', 'one'] },
        ]) {
          const { workingSet: child, ...dropped } = translateWorkingSet(set, from, to)
          const stays = (page: number) =>
            place(from.map, from.layers, page) === place(to.map, to.layers, page)
          const kept = (before: WorkingSet['readOnly']) => [...pagesOf(before)].filter(stays)
          expect(child.image).toBe(childImage)
          expect([...pagesOf(child.readOnly)]).toEqual(kept(set.readOnly))
          expect([...pagesOf(child.written)]).toEqual(kept(set.written))
          expect(child.groups.map(({ atMs, set: group }) => [atMs, ...pagesOf(group)])).toEqual(
            set.groups
              .map(({ atMs, set: group }) => [atMs, ...kept(group)])
              .filter(({ length }) => length > 1),
          )
          expect(dropped).toEqual({
            droppedReadOnlyPages: set.readOnly.pages - child.readOnly.pages,
            droppedWrittenPages: set.written.pages - child.written.pages,
          })
          expect(child.notes).toBe(set.notes)
          checkWorkingSet(child)
        }
      }),
      { numRuns: 200 },
    )
  })

  const base = flatIndex(8, pageRange(0, 4), pageRange(4, 4))
  const from = { image: parentImage, map: composeExtentMap([base]), layers: ['base'] }
  const child = flatIndex(8, pageRange(1, 1), pageRange(2, 1))
  const to = { image: childImage, map: composeExtentMap([base, child]), layers: ['base', 'child'] }
  const set: WorkingSet = {
    ...{ image: parentImage, pages: 8, recordedAtMs: 0, windowMs: 0, notes: {} },
    readOnly: pageRange(0, 2),
    written: pageRange(2, 4),
    groups: [
      { atMs: 1, set: pageRange(1, 1) },
      { atMs: 2, set: pageRange(3, 1) },
    ],
  }

  test('drops what the child wrote and what it made zero, not what is zero in both', () => {
    const { workingSet: translated, ...dropped } = translateWorkingSet(set, from, to)
    expect([...pagesOf(translated.readOnly)]).toEqual([0])
    expect([...pagesOf(translated.written)]).toEqual([3, 4, 5])
    expect(translated.groups).toEqual([{ atMs: 2, set: pageRange(3, 1) }])
    expect(dropped).toEqual({ droppedReadOnlyPages: 1, droppedWrittenPages: 1 })
  })

  test('refuses a set of another image, images of different size, and a layer without a name', () => {
    expect(() => translateWorkingSet({ ...set, image: childImage }, from, to)).toThrow(/recorded on image/)
    const larger = composeExtentMap([flatIndex(9, pageRange(0, 4), pageRange(4, 5))])
    expect(() => translateWorkingSet(set, from, { ...to, map: larger, layers: ['base'] })).toThrow(/has 9/)
    expect(() => translateWorkingSet(set, from, { ...to, layers: ['base'] })).toThrow(/layer 1 of 1/)
  })
})
