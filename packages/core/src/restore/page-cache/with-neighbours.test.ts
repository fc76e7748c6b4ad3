import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pageSetFromPages } from '../../memory/make-page-set.js'
import { pagesOf } from '../../memory/page-set.js'
import { intersect, unionAll } from '../../memory/page-set-algebra.js'
import { withNeighbours } from './with-neighbours.js'

const anySets = fc.array(fc.uniqueArray(fc.nat(300), { maxLength: 40 }).map(pageSetFromPages), {
  maxLength: 6,
})

test('has every page once, no later than it was', () => {
  fc.assert(
    fc.property(anySets, fc.integer({ min: 1, max: 64 }), (sets, blockPages) => {
      const together = withNeighbours(sets, blockPages)
      expect(together.reduce((sum, { pages }) => sum + pages, 0)).toBe(unionAll(sets).pages)
      expect(together.every(({ pages }) => pages > 0)).toBe(true)
      for (let i = 0; i <= sets.length; i++) {
        const asked = unionAll(sets.slice(0, i))
        expect(intersect(unionAll(together.slice(0, i)), asked)).toEqual(asked)
      }
    }),
  )
})

test('takes along what lies in the same block, and nothing else', () => {
  const sets = [[1, 40], [2, 41, 70], [3]].map(pageSetFromPages)
  expect(withNeighbours(sets, 32).map((set) => [...pagesOf(set)])).toEqual([[1, 2, 3, 40, 41], [70]])
})
