import { byteOffset, guestAddress } from 'varve/state-files'
import { expect, test } from 'vitest'
import { type FrameKind, frameKinds, kindOfFlags, readFrameFlags } from './frame-kinds.js'
import { guestFrames } from './guest-frames.js'
import { readKernelRanges } from './kernel-ranges.js'

test.each<[FrameKind, number[]]>([
  ['unknown', []],
  ['zero page', [24, 32]],
  ['free', [10]],
  ['page table', [26, 11]],
  ['slab', [7, 15]],
  ['anonymous', [3, 5, 12, 14]],
  ['page cache', [3, 5]],
  ['page cache', [3]],
  ['page cache', [34]],
  ['shared memory', [3, 5, 14]],
  ['reserved', [32]],
  ['large allocation', [16]],
  ['offline', [23]],
])('a frame of the kind %s has the flags %j', (kind, bits) => {
  const half = (from: number) =>
    bits.filter((it) => it >= from && it < from + 32).reduce((all, it) => all | (1 << (it - from)), 0)
  expect(kindOfFlags(half(0) >>> 0, half(32) >>> 0)).toBe(kind)
})

const frames = guestFrames([
  { guestAddress: guestAddress(0), sizeBytes: 2 * 4096, fileOffset: byteOffset(0) },
  { guestAddress: guestAddress(4 * 4096), sizeBytes: 2 * 4096, fileOffset: byteOffset(2 * 4096) },
])

async function kindsOf(bytes: Uint8Array, size: number) {
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  const kinds = new Uint8Array(4)
  await readFrameFlags(chunks(), frames, Uint8Array.of(1, 0, 1, 1), kinds)
  return [...kinds].map((it) => frameKinds[it])
}

test.each([1, 8, 13, 64])(
  'flags of frames become kinds of the wanted pages, in pieces of %i bytes',
  async (size) => {
    const flags = BigUint64Array.of(1n << 7n, 1n << 10n, 1n << 24n, 0n, 1n << 10n, 1n << 32n, 0n)
    const bytes = new Uint8Array(flags.buffer)
    expect(await kindsOf(bytes, size)).toEqual(['slab', 'unknown', 'free', 'reserved'])
  },
)

test('flags that end within a frame are refused, and none is read behind the last frame', async () => {
  await expect(kindsOf(new Uint8Array(12), 5)).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
  async function* endless() {
    for (;;) yield new Uint8Array(16)
  }
  await readFrameFlags(endless(), frames, new Uint8Array(4), new Uint8Array(4))
})

test('parts of the kernel come from /proc/iomem', () => {
  const iomem = `00000000-00000fff : Reserved
00100000-0fffffff : System RAM
  01000000-01e00eff : Kernel code
  02000000-022c9fff : Kernel rodata
  02400000-025b0b7f : Kernel data
100000000-1ffffffff : System RAM
`
  expect(readKernelRanges(Buffer.from(iomem))).toEqual([
    { name: 'code', frame: 0x1000, count: 0xe01 },
    { name: 'rodata', frame: 0x2000, count: 0x2ca },
    { name: 'data', frame: 0x2400, count: 0x1b1 },
  ])
})

test('a reader without rights, and a hostile guest, give no parts', () => {
  expect(readKernelRanges(Buffer.from('  00000000-00000000 : Kernel code\n'))).toEqual([])
  expect(readKernelRanges(Buffer.from('  00002000-00001000 : Kernel code\n'))).toEqual([])
  expect(() => readKernelRanges(Buffer.from('  00001000-fffffffff : Kernel bss\n'.repeat(9)))).toThrow(
    expect.objectContaining({ code: 'GUEST_PROTOCOL' }),
  )
  expect(() => readKernelRanges(new Uint8Array(2 ** 21))).toThrow(
    expect.objectContaining({ code: 'GUEST_PROTOCOL' }),
  )
})
