import { expect, test } from 'vitest'
import { compareFifths, judge, riseOf } from './flat.js'

const samples = (values: (done: number) => number) =>
  Array.from({ length: 20 }, (_, index) => ({ done: (index + 1) * 100, leases: values(index) }))
const verdict = (values: (done: number) => number) => judge(samples(values))[0]

test('the rise is that of the line through the points', () => {
  const line = (x: number): [number, number] => [x, 3 * x + 7]
  expect(riseOf([0, 5, 10, 20].map(line))).toBeCloseTo(60)
  expect(riseOf([line(4)])).toBe(0)
})

test('what settles in the first half is flat; what goes on rising is not', () => {
  expect(verdict((at) => Math.min(at, 8))).toMatchObject({ flat: true, first: 0, last: 8 })
  expect(verdict((at) => at % 2)).toMatchObject({ flat: true })
  expect(verdict((at) => at)).toMatchObject({ flat: false, rise: 9 })
  expect(verdict((at) => (at < 15 ? 0 : 4))).toMatchObject({ flat: false })
})

test('the last fifth is compared with the first', () => {
  const fifths = (values: (done: number) => number) => compareFifths(samples(values))[0]
  expect(fifths((at) => (at === 9 ? 50 : 3))).toMatchObject({ first: 3, last: 3, most: 50, flat: true })
  expect(fifths((at) => at)).toMatchObject({ first: 1.5, last: 17.5, allowed: 1, flat: false })
  expect(fifths((at) => (at < 16 ? 0 : 2))).toMatchObject({ flat: false })
  expect(compareFifths([])).toEqual([])
})
