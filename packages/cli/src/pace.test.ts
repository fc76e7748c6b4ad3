import { expect, test } from 'vitest'
import { duration, Pace } from './pace.js'

test('nothing is told before there are two looks', () => {
  const pace = new Pace()
  expect(pace.text(0)).toBe('')
  pace.told('10 of 100 MiB hashed', 1000)
  expect(pace.text(2000)).toBe('')
})

test('pages and MiB have a rate, other things only the time that is left', () => {
  for (const [first, later, text] of [
    ['0 of 2560 pages', '1280 of 2560 pages', ', 2.5 MiB/s, 2 s left'],
    ['flattening, 0 of 2560 pages', 'flattening, 640 of 2560 pages', ', 1.3 MiB/s, 6 s left'],
    ['checking 12ab, 100 of 300 MiB', 'checking 12ab, 200 of 300 MiB', ', 50 MiB/s, 2 s left'],
    ['1 of 8 ready', '3 of 8 ready', ', 5 s left'],
  ] as const) {
    const pace = new Pace()
    pace.told(first, 1000)
    pace.told(later, 3000)
    expect(pace.text(3000)).toBe(text)
  }
})

test('the time that is left goes down between two looks, and not below zero', () => {
  const pace = new Pace()
  pace.told('0 of 100 MiB', 0)
  pace.told('50 of 100 MiB', 10_000)
  expect(pace.text(14_000)).toBe(', 5.0 MiB/s, 6 s left')
  expect(pace.text(60_000)).toBe(', 5.0 MiB/s, 0 s left')
})

test('each layer has its own pace', () => {
  const pace = new Pace()
  pace.told('layer 1: 0 of 25600 pages', 0)
  pace.told('layer 1: 25600 of 25600 pages', 1000)
  pace.told('layer 2: 0 of 25600 pages', 1000)
  expect(pace.text(1000)).toBe('')
  pace.told('layer 2: 256 of 25600 pages', 2000)
  expect(pace.text(2000)).toBe(', 1.0 MiB/s, 99 s left'.replace('99 s', '2 min'))
})

test('words without numbers say nothing of a pace', () => {
  const pace = new Pace()
  pace.told('waiting for another process to finish with the store', 0)
  pace.told('finding what is needed', 1000)
  expect(pace.text(2000)).toBe('')
})

test('durations', () => {
  expect([0.2, 89, 90, 600].map(duration)).toEqual(['1 s', '89 s', '2 min', '10 min'])
})
