import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { withLine } from './inspect-line.js'
import { emptyPageSet } from './memory/page-set.js'
import { workingSetFromBytes, workingSetToBytes } from './working-set/working-set-bytes.js'

const plain = { image: 'ab', pages: 3 }

test('data with a line prints it, also within other data', () => {
  const value = withLine({ ...plain }, ({ image, pages }) => `Thing ${image} of ${pages}`)
  expect(inspect(value)).toBe('Thing ab of 3')
  expect(inspect({ value })).toBe('{ value: Thing ab of 3 }')
})

test('the line is no part of the data', () => {
  const value = withLine({ ...plain }, () => 'a line')
  expect(value).toStrictEqual(plain)
  expect(JSON.stringify(value)).toBe(JSON.stringify(plain))
  expect(structuredClone(value)).toStrictEqual(plain)
  expect(Reflect.ownKeys({ ...value })).toEqual(['image', 'pages'])
})

test('a working set that was read prints one line', () => {
  const set = {
    image: '0123456789ab'.padEnd(32, 'c'),
    pages: 100,
    recordedAtMs: 1,
    windowMs: 2,
    readOnly: { starts: Uint32Array.of(4, 9), counts: Uint32Array.of(2, 1), pages: 3 },
    written: emptyPageSet,
    groups: [],
    notes: {},
  }
  const read = workingSetFromBytes(workingSetToBytes(set), 'it')
  expect(inspect(read)).toBe('WorkingSet of 0123456789ab (3 pages read, 0 written, of 100; 0 groups)')
})
