import { brokenReport } from './broken-report.js'
import type { GuestFrames } from './guest-frames.js'
import { Pace } from './pace.js'

/** What the guest's kernel says of a frame, not of its owners. Their numbers are kept for each page. */
export const frameKinds = [
  'unknown',
  'zero page',
  'free',
  'page table',
  'slab',
  'page cache',
  'shared memory',
  'anonymous',
  'large allocation',
  'reserved',
  'offline',
] as const
export type FrameKind = (typeof frameKinds)[number]

/** Bits of /proc/kpageflags: include/uapi/linux/kernel-page-flags.h. */
const bit = {
  uptodate: 3,
  lru: 5,
  slab: 7,
  buddy: 10,
  anon: 12,
  swapBacked: 14,
  compoundHead: 15,
  compoundTail: 16,
  offline: 23,
  zeroPage: 24,
  pageTable: 26,
} as const
/** The same from bit 32 on: include/linux/kernel-page-flags.h. */
const upperBit = { reserved: 32 - 32, mappedToDisk: 34 - 32 } as const

/** `low` and `high`: the halves of a frame's flags. */
export function kindOfFlags(low: number, high: number): FrameKind {
  const is = (name: keyof typeof bit) => (low & (1 << bit[name])) !== 0
  const isUpper = (name: keyof typeof upperBit) => (high & (1 << upperBit[name])) !== 0
  if (is('zeroPage')) return 'zero page'
  if (is('buddy')) return 'free'
  if (is('pageTable')) return 'page table'
  if (is('slab')) return 'slab'
  if (is('offline')) return 'offline'
  if (is('anon')) return 'anonymous'
  // A page is not in the LRU lists until the batch of its CPU is full.
  if (is('lru') || is('uptodate') || isUpper('mappedToDisk'))
    return is('swapBacked') ? 'shared memory' : 'page cache'
  if (isUpper('reserved')) return 'reserved'
  if (is('compoundHead') || is('compoundTail')) return 'large allocation'
  return 'unknown'
}

/**
 * Reads /proc/kpageflags of the guest, 8 bytes a frame from frame 0 on, and keeps the kind of each wanted
 * page in `kinds` (by number). What lies behind the last frame is not read.
 */
export async function readFrameFlags(
  chunks: AsyncIterable<Uint8Array>,
  frames: GuestFrames,
  wanted: Uint8Array,
  kinds: Uint8Array,
  pace = new Pace(),
): Promise<void> {
  let frame = 0
  let rest: Uint8Array = new Uint8Array(0)
  for await (const chunk of chunks) {
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    const whole = Math.floor(bytes.length / 8)
    for (let i = 0; i < whole; i++) {
      const page = frames.pageOf(frame + i)
      if (page < 0 || wanted[page] !== 1) continue
      kinds[page] = frameKinds.indexOf(kindOfFlags(bytes.readUInt32LE(8 * i), bytes.readUInt32LE(8 * i + 4)))
    }
    rest = bytes.subarray(8 * whole)
    frame += whole
    if (frame >= frames.end) return
    if (pace.isDue(10 * whole + 100)) await pace.rest()
  }
  if (rest.length > 0) throw brokenReport('flags of a frame that are not 8 bytes')
}
