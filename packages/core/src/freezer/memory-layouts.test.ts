import { expect, test } from 'vitest'
import { possibleLayouts } from './memory-layouts.js'

const mib = 2 ** 20
const sizes = (memoryMib: number) =>
  possibleLayouts(memoryMib * mib).map((layout) => layout.map(({ sizeBytes }) => sizeBytes / mib))

test('memory below the gap of every version is one region', () => {
  expect(sizes(256)).toEqual([[256]])
  expect(sizes(3072)).toEqual([[3072]])
})

test('memory between the gaps is one region or two, by version', () => {
  expect(sizes(3100)).toEqual([[3100], [3072, 28]])
})

test('memory above them is two regions, the second from 4 GiB on', () => {
  expect(sizes(8192)).toEqual([
    [3328, 4864],
    [3072, 5120],
  ])
  for (const layout of possibleLayouts(8192 * mib)) expect(layout[1]?.guestAddress).toBe(4096 * mib)
})

test('a layout that is not known is not guessed', () => {
  expect(possibleLayouts(300 * 1024 * mib)).toEqual([])
})
