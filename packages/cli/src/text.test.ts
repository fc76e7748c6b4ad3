import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { age, count, cut, humanBytes, humanPages, printable, sections, shortId, table } from './text.js'

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [102_400, '100 KiB'],
  [2 ** 20, '1.0 MiB'],
  [10.25 * 2 ** 20, '10.3 MiB'],
  [2 ** 30, '1.0 GiB'],
  [2 ** 40, '1.0 TiB'],
  [2 ** 50, '1024 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(humanBytes(bytes)).toBe(text)
})

test('pages are 4 KiB', () => {
  expect(humanPages(256)).toBe('1.0 MiB')
})

test.each([
  [0, '0 s'],
  [119, '119 s'],
  [120, '2 min'],
  [7199, '120 min'],
  [7200, '2 h'],
  [47 * 3600, '47 h'],
  [48 * 3600, '2 d'],
  // The clock was set back since.
  [-5, '0 s'],
])('an age of %d seconds is %s', (seconds, text) => {
  const now = Date.parse('2026-01-31T12:00:00.000Z')
  expect(age(new Date(now - seconds * 1000).toISOString(), now)).toBe(text)
})

test('counts, ids and cuts', () => {
  expect([count(0, 'layer'), count(1, 'layer'), count(2, 'layer')]).toEqual([
    '0 layers',
    '1 layer',
    '2 layers',
  ])
  expect(shortId('0123456789abcdef0123456789abcdef')).toBe('0123456789ab')
  expect(cut('12345', 5)).toBe('12345')
  expect(cut('123456', 5)).toBe('1234…')
})

test('blocks of text have a blank line between them', () => {
  expect(sections(['a', false, undefined, 'b\nc', null])).toBe('a\n\nb\nc')
})

test('what steers a terminal is shown by its number', () => {
  expect(printable('a\u001b[2Jb\u202ec\n')).toBe('a\\u{1b}[2Jb\\u{202e}c\\u{a}')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{C}\u2028\u2029]/u)
    }),
  )
})

describe('table', () => {
  test('columns are as wide as their widest cell, numbers at the right', () => {
    const rows = [
      ['NAME', 'SIZE', 'KIND'],
      ['a', '10 B', 'x'],
      ['longer', '9 B', 'y'],
    ]
    expect(table(rows, { right: [1] })).toBe(
      ['NAME    SIZE  KIND', 'a       10 B  x', 'longer   9 B  y'].join('\n'),
    )
  })

  test('each column begins at one place, and no line ends in blanks', () => {
    const cell = fc.string({ unit: fc.constantFrom('a', 'b', '7'), maxLength: 9 })
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, fc.constant('|')), { minLength: 1 }), (rows) => {
        const lines = table(rows).split('\n')
        expect(lines).toHaveLength(rows.length)
        expect(new Set(lines.map((line) => line.indexOf('|'))).size).toBe(1)
        for (const line of lines) expect(line).toBe(line.trimEnd())
      }),
    )
  })

  test('an empty row is a blank line', () => {
    expect(table([['a', 'b'], [], ['c', 'd']])).toBe('a  b\n\nc  d')
  })
})
