import { expect, test } from 'vitest'
import { wholeMib } from './units.js'

test('whole MiB are right from 2 GiB on, too', () => {
  expect([0, 2 ** 20 - 1, 2 ** 20, 2 ** 31, 5 * 2 ** 30 + 7, 2 ** 41].map(wholeMib)).toEqual([
    0,
    0,
    1,
    2048,
    5120,
    2 ** 21,
  ])
})
