import { byteOffset, guestAddress } from 'varve/state-files'
import { expect, test } from 'vitest'
import { guestFrames } from './guest-frames.js'

const region = (address: number, sizeBytes: number, offset: number) => ({
  guestAddress: guestAddress(address),
  sizeBytes,
  fileOffset: byteOffset(offset),
})
const gib = 2 ** 30
/** A guest of 4 GiB: devices are from 3.25 GiB on. */
const frames = guestFrames([region(4 * gib, 0.75 * gib, 3.25 * gib), region(0, 3.25 * gib, 0)])

test('frames below and above the hole are pages in the order of the memory file', () => {
  expect(frames.end).toBe((4.75 * gib) / 4096)
  expect(frames.pageOf(0)).toBe(0)
  expect(frames.pageOf(851_967)).toBe(851_967)
  expect(frames.pageOf(4 * 262_144)).toBe(851_968)
  expect(frames.pageOf(frames.end - 1)).toBe(1_048_575)
})

test('frames of the hole, and behind the end, are no pages', () => {
  for (const frame of [851_968, 1_048_575, frames.end, 2 ** 50]) expect(frames.pageOf(frame)).toBe(-1)
})

test('a run across the hole has a part in each region', () => {
  const parts: number[][] = []
  frames.forEachPart(851_966, 2 ** 40, (...part) => parts.push(part))
  expect(parts).toEqual([
    [851_966, 851_966, 2],
    [851_968, 1_048_576, 196_608],
  ])
  frames.forEachPart(900_000, 100, () => expect.unreachable())
})
