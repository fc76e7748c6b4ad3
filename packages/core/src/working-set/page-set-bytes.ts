import type { VarveError } from '../errors.js'
import { countRuns, emptyBitmap, pageSetFromBitmap, setBits } from '../memory/page-bitmap.js'
import type { PageSet } from '../memory/page-set.js'
import { endOf } from './working-set.js'

/**
 * A set within a working-set file, docs/formats/working-set-v1.md: as runs or as
 * a bitmap, whichever is smaller.
 */

export const setHeaderBytes = 8
const runBytes = 8
const kinds = { runs: 0, bitmap: 1 } as const

/**
 * Bitmaps are copied from and to 32-bit words as they lie in memory: Varve's architectures are little-endian.
 */

export function encodePageSet(set: PageSet): Buffer {
  const { starts, counts } = set
  const { first, bytes: bitmapBytes } = bitmapExtent(set)
  const isBitmap = 4 + bitmapBytes < runBytes * starts.length
  const out = Buffer.alloc(setHeaderBytes + (isBitmap ? 4 + bitmapBytes : runBytes * starts.length))
  out[0] = isBitmap ? kinds.bitmap : kinds.runs
  out.writeUInt32LE(isBitmap ? bitmapBytes : starts.length, 4)
  if (isBitmap) {
    const bitmap = emptyBitmap(first, 8 * bitmapBytes)
    setBits(bitmap, set)
    out.writeUInt32LE(first, setHeaderBytes)
    out.set(bytesOf(bitmap.words).subarray(0, bitmapBytes), setHeaderBytes + 4)
  } else
    for (let i = 0, at = setHeaderBytes; i < starts.length; i++, at += runBytes) {
      out.writeUInt32LE(starts[i] as number, at)
      out.writeUInt32LE(counts[i] as number, at + 4)
    }
  return out
}

/** The page that the first bit of its bitmap is for, and how many bytes hold the rest. */
function bitmapExtent(set: PageSet): { readonly first: number; readonly bytes: number } {
  const start = set.starts[0] ?? 0
  const first = start - (start % 8)
  return { first, bytes: Math.ceil((endOf(set) - first) / 8) }
}

const bytesOf = (words: Int32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength)

interface SetLimits {
  /** One behind the last byte that the set may take. */
  readonly end: number
  /** One behind the last page that it may hold. */
  readonly pages: number
  /** The most runs that it may have. */
  readonly runs: number
}

/** Reads the set that begins at byte `at`, in its one form only. `fail` makes the error for a byte. */
export function decodePageSet(
  bytes: Buffer,
  at: number,
  limits: SetLimits,
  fail: (offset: number, detail: string) => VarveError,
): { readonly set: PageSet; readonly end: number } {
  const room = limits.end - at - setHeaderBytes
  if (room < 0) throw fail(at, 'the file ends within a set')
  const kind = bytes[at]
  if (bytes.readUIntLE(at + 1, 3) !== 0) throw fail(at + 1, 'reserved bytes are not zero')
  const length = bytes.readUInt32LE(at + 4)
  const body = at + setHeaderBytes
  if (kind === kinds.runs) {
    if (length * runBytes > room) throw fail(at + 4, `${length} runs are more than the file holds`)
    if (length > limits.runs) throw fail(at + 4, `${length} runs, where ${limits.runs} are left`)
    const set = readRuns(bytes, body, length, limits.pages, fail)
    if (4 + bitmapExtent(set).bytes < runBytes * length) throw fail(at, 'runs, where a bitmap is smaller')
    return { set, end: body + length * runBytes }
  }
  if (kind !== kinds.bitmap) throw fail(at, `a set of kind ${kind} is neither 0 (runs) nor 1 (bitmap)`)
  if (4 + length > room) throw fail(at + 4, `a bitmap of ${length} bytes is more than the file holds`)
  const first = bytes.readUInt32LE(body)
  const bits = bytes.subarray(body + 4, body + 4 + length)
  if (first % 8 !== 0) throw fail(body, `the bitmap begins at page ${first}, not a multiple of 8`)
  if (length === 0 || bits[0] === 0) throw fail(body + 4, 'the first byte of the bitmap is zero')
  const highest = bits[length - 1] as number
  if (highest === 0) throw fail(body + 3 + length, 'the last byte of the bitmap is zero')
  const end = first + 8 * (length - 1) + (32 - Math.clz32(highest))
  if (end > limits.pages)
    throw fail(body + 3 + length, `page ${end - 1} is behind the image's ${limits.pages} pages`)
  const bitmap = emptyBitmap(first, 8 * length)
  bytesOf(bitmap.words).set(bits)
  const runs = countRuns(bitmap)
  if (runs > limits.runs) throw fail(at + 4, `${runs} runs, where ${limits.runs} are left`)
  if (runBytes * runs <= 4 + length) throw fail(at, 'a bitmap, where runs are not larger')
  return { set: pageSetFromBitmap(bitmap), end: body + 4 + length }
}

function readRuns(
  bytes: Buffer,
  body: number,
  length: number,
  pages: number,
  fail: (offset: number, detail: string) => VarveError,
): PageSet {
  const starts = new Uint32Array(length)
  const counts = new Uint32Array(length)
  let previousEnd = -1
  let total = 0
  for (let i = 0, at = body; i < length; i++, at += runBytes) {
    const start = bytes.readUInt32LE(at)
    const count = bytes.readUInt32LE(at + 4)
    if (count === 0) throw fail(at + 4, `run ${i} is empty`)
    if (start <= previousEnd)
      throw fail(at, `run ${i} begins at page ${start}, the one before ended at ${previousEnd}`)
    if (start + count > pages)
      throw fail(at + 4, `run ${i}, ${start}+${count}, ends behind the image's ${pages} pages`)
    starts[i] = start
    counts[i] = count
    total += count
    previousEnd = start + count
  }
  return { starts, counts, pages: total }
}
