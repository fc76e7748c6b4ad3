import { expect, test } from 'vitest'
import { LineCutter } from './line-cutter.js'

test('lines come out whole, however the stream was cut', () => {
  const text = '{"op":"stats"}\n\n{"op":"processes"}\n'
  for (let size = 1; size <= text.length; size++) {
    const cutter = new LineCutter(100)
    const lines: string[] = []
    for (let at = 0; at < text.length; at += size) lines.push(...cutter.cut(text.slice(at, at + size)))
    expect(lines).toEqual(['{"op":"stats"}', '', '{"op":"processes"}'])
  }
})

test('a line without its end is kept for the next part', () => {
  const cutter = new LineCutter(10)
  expect(cutter.cut('ab')).toEqual([])
  expect(cutter.cut('c\nd')).toEqual(['abc'])
  expect(cutter.cut('\n')).toEqual(['d'])
})

test('a line of the allowed length passes, a longer one is refused whether it ends or not', () => {
  expect(new LineCutter(3).cut('abc\nabc\n')).toEqual(['abc', 'abc'])
  const unended = new LineCutter(3)
  unended.cut('abc')
  expect(() => unended.cut('d')).toThrow('a line of more than 3 characters')
  expect(() => new LineCutter(3).cut('abcd\n')).toThrow('a line of more than 3 characters')
})
