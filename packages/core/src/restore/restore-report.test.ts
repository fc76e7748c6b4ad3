import { expect, test } from 'vitest'
import { pagesFrom, zeroSource } from '../layer/extent-map.js'
import { extentMapFromJson } from '../layer/extent-map-json.js'
import { classify, countClasses } from '../memory/classes.js'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { union } from '../memory/page-set-algebra.js'
import type { WorkingSet } from '../working-set/working-set.js'
import { pagesOfImage } from './restore-report.js'
import { pagesWithData } from './usage/restore-note.js'

const map = extentMapFromJson({ pages: 100, runs: [30, 0, 0, 20, -1, 0, 10, 1, 0, 40, -1, 0] }, [30, 10])
const files = [
  { path: '/base', pages: 30, storedPages: 30 },
  { path: '/child', pages: 10, storedPages: 10 },
] as unknown as Parameters<typeof pagesOfImage>[0]['files']
const image = { map, files }
const workingSet = {
  readOnly: pageSetFromPages([0, 1, 31, 32, 99]),
  written: pageSetFromPages([2, 40, 55, 56]),
} as WorkingSet

test('pages by class are what the sets of the classes hold', () => {
  const { readOnly, written } = workingSet
  const zero = pagesFrom(map, zeroSource)
  const classes = classify({ present: union(readOnly, written), written, zero, pages: map.pages })
  const { byClass, byOrigin } = pagesOfImage(image, { files, map }, workingSet)
  expect(byClass).toEqual(countClasses(classes))
  expect(byClass).toEqual({ zero: 56, cold: 35, 'read-only': 5, written: 4 })
  expect(byOrigin).toEqual({ zero: 60, flatFile: 0, layers: [30, 10] })
  expect(pagesOfImage(image, { files, map }, null).byClass).toEqual({
    zero: 60,
    cold: 40,
    'read-only': 0,
    written: 0,
  })
})

test('zero pages of a set hold no data', () => {
  expect(pagesWithData(map, workingSet)).toBe(5)
})
