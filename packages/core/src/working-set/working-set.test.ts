import { describe, expect, test } from 'vitest'
import { isVarveError, type VarveError } from '../errors.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { emptyPageSet } from '../memory/page-set.js'
import {
  assertWorkingSetOf,
  checkWorkingSet,
  type Json,
  presentPages,
  type WorkingSet,
} from './working-set.js'

const image = '0102030405060708090a0b0c0d0e0f10'
const good: WorkingSet = {
  image,
  pages: 100,
  recordedAtMs: 1_700_000_000_000,
  windowMs: 250,
  readOnly: pageRange(0, 10),
  written: pageRange(10, 5),
  groups: [
    { atMs: 4, set: pageSetFromPages([3, 12]) },
    { atMs: 4, set: pageSetFromPages([1]) },
    { atMs: 9, set: pageSetFromPages([0, 2]) },
  ],
  notes: { recorders: { present: 'pagemap', written: 'diff' } },
}

const nested = (levels: number): Json => (levels === 0 ? 1 : [nested(levels - 1)])

function faultOf(change: Partial<WorkingSet>): VarveError | undefined {
  try {
    checkWorkingSet({ ...good, ...change })
  } catch (error) {
    if (isVarveError(error)) return error
    throw error
  }
  return undefined
}

describe('a working set', () => {
  test('keeps its rules', () => {
    expect(faultOf({})).toBeUndefined()
    expect(faultOf({ groups: [] })).toBeUndefined()
    expect(faultOf({ notes: { deep: nested(7) } })).toBeUndefined()
    expect(faultOf({ pages: 2 ** 32 - 2, written: pageRange(2 ** 32 - 3, 1), groups: [] })).toBeUndefined()
    expect([...presentPages(good).counts]).toEqual([15])
  })

  const group = (...pages: number[]) => ({ atMs: 4, set: pageSetFromPages(pages) })
  const cyclic: Record<string, Json> = {}
  cyclic.again = cyclic
  test.each<[string, Partial<WorkingSet>, unknown]>([
    ['an image of no page', { pages: 0 }, 'pages'],
    ['an image of too many pages', { pages: 2 ** 32 - 1 }, 'pages'],
    ['an image without a name', { image: '0'.repeat(32) }, 'image'],
    ['a short image', { image: 'abc' }, 'image'],
    ['upper case', { image: image.toUpperCase() }, 'image'],
    ['a time before 1970', { recordedAtMs: -1 }, 'recordedAtMs'],
    ['half a millisecond', { windowMs: 0.5 }, 'windowMs'],
    ['a page behind the image', { readOnly: pageRange(99, 2), groups: [] }, 'readOnly'],
    ['a written page behind the image', { written: pageRange(100, 1), groups: [] }, 'written'],
    ['a page in both sets', { written: pageRange(9, 2), groups: [] }, 'written'],
    ['an empty group', { groups: [group(1), { atMs: 4, set: emptyPageSet }] }, 'groups[1]'],
    ['a page in two groups', { groups: [group(1), group(2), group(1, 3)] }, 'groups[2]'],
    ['a page that was not touched', { groups: [group(1), group(2, 15)] }, 'groups[1]'],
    ['times that fall', { groups: [{ ...group(1), atMs: 5 }, group(2)] }, 'groups[1]'],
    ['a time that is none', { groups: [{ ...group(1), atMs: Number.NaN }] }, 'groups[0]'],
    ['too many groups', { groups: Array.from({ length: 4097 }, () => group(1)) }, 'groups'],
    ['notes that are too deep', { notes: { deep: nested(8) } }, 'notes'],
    ['notes without an end', { notes: cyclic }, 'notes'],
  ])('is refused with %s', (_, change, part) => {
    const fault = faultOf(change)
    expect(fault?.code).toBe('INVALID_ARGUMENT')
    expect(fault?.details.part).toBe(part)
  })

  test('is for its own image only', () => {
    expect(() => assertWorkingSetOf(good, image, 100)).not.toThrow()
    for (const [otherImage, pages] of [
      [image.replace('01', '02'), 100],
      [image, 101],
    ] as const)
      try {
        assertWorkingSetOf(good, otherImage, pages)
        expect.unreachable()
      } catch (error) {
        expect(isVarveError(error, 'IMAGE_MISMATCH')).toBe(true)
      }
  })
})
