import { expect, test } from 'vitest'
import type { Mapping } from '../sys/mappings.js'
import { addressGuesses } from './address-guesses.js'

const mapping = (start: number, end: number, more: Partial<Mapping> = {}): Mapping => ({
  start,
  end,
  private: true,
  writable: true,
  offsetBytes: 0,
  device: { major: 0, minor: 0 },
  inode: '0',
  path: '',
  ...more,
})

test('a region that is one mapping', () => {
  expect(addressGuesses([mapping(0, 0x1000), mapping(0x10_0000, 0x20_0000)], [0x10_0000], 0)).toEqual([
    0x10_0000,
  ])
})

test('two regions that the kernel joined, in either order', () => {
  const sizes = [0x30_0000, 0x10_0000]
  const joined = [mapping(0x100_0000, 0x140_0000)]
  expect(addressGuesses(joined, sizes, 0)).toEqual([0x110_0000, 0x100_0000])
  expect(addressGuesses(joined, sizes, 1)).toContain(0x100_0000)
  expect(addressGuesses(joined, sizes, 1)).toContain(0x130_0000)
})

test('a region of many mappings, with other memory on both sides', () => {
  const mappings = [
    mapping(0x0f_f000, 0x10_0000),
    mapping(0x10_0000, 0x14_0000, { inode: '7' }),
    mapping(0x14_0000, 0x20_0000),
    mapping(0x20_0000, 0x20_4000),
  ]
  expect(addressGuesses(mappings, [0x10_0000], 0)).toContain(0x10_0000)
})

test('memory that is shared, read-only, or too small is none', () => {
  const mappings = [
    mapping(0, 0x10_0000, { private: false }),
    mapping(0x20_0000, 0x30_0000, { writable: false }),
    mapping(0x40_0000, 0x4f_f000),
  ]
  expect(addressGuesses(mappings, [0x10_0000], 0)).toEqual([])
})
