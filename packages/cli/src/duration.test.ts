import { expect, test } from 'vitest'
import { duration } from './duration.js'

test.each([
  ['500ms', 500],
  ['30s', 30_000],
  ['1.5s', 1500],
  ['2m', 120_000],
  ['1h', 3_600_000],
  ['7', 7000],
])('%s', (text, ms) => {
  expect(duration(text, 'every')).toBe(ms)
})

test.each(['', 's', '-1s', '1d', '1 s', '1e3s', '99999999999s'])('%j is refused', (text) => {
  expect(() => duration(text, 'every')).toThrow('is not a time like')
})
