import { expect, test } from 'vitest'
import { assertLabels, hasLabels, labelsProblem, maxLabels } from './labels.js'

test('keys and values within their bounds are accepted', () => {
  const labels = {
    a: '',
    'dev.varve/team-1': 'storage & co',
    ['k'.repeat(63)]: 'v'.repeat(255),
    constructor: 'x',
  }
  expect(assertLabels(labels)).toBe(labels)
})

test.each([
  ['an upper-case key', { Team: 'x' }],
  ['an empty key', { '': 'x' }],
  ['a key of 64', { ['k'.repeat(64)]: 'x' }],
  ['a key that ends with a dash', { 'a-': 'x' }],
  ['a line end', { a: 'x\n' }],
  ['an escape', { a: '\u001b[2J' }],
  ['a letter that is not ASCII', { a: 'ä' }],
  ['a value of 256', { a: 'v'.repeat(256) }],
  ['a number', { a: 1 }],
  ['too many', Object.fromEntries(Array.from({ length: maxLabels + 1 }, (_, i) => [`k${i}`, 'v']))],
  ['a list', ['a']],
  ['nothing', null],
])('refused: %s', (_, labels) => {
  expect(labelsProblem(labels)).toBeTypeOf('string')
  expect(() => assertLabels(labels as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})

test('all that are wanted must be there with the same value', () => {
  const labels = { team: 'storage', stage: 'test' }
  expect(hasLabels(labels, {})).toBe(true)
  expect(hasLabels(labels, { team: 'storage' })).toBe(true)
  expect(hasLabels(labels, { team: 'storage', stage: 'prod' })).toBe(false)
  // Not what every object inherits.
  expect(hasLabels({}, { constructor: '' })).toBe(false)
})
