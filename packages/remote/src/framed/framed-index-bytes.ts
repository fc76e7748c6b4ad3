import { crc32 } from 'node:zlib'
import { VarveError } from 'varve'
import { digestOf, hexOf } from 'varve/testing'
import {
  type FramedCounts,
  type FramedIndex,
  type FrameEntry,
  frameCodecs,
  framePages,
  framesOf,
  layerPagesLimit,
  maxPageRuns,
  maxPlacedPages,
  maxTailBytes,
  minTailBytes,
  type PageRuns,
  pageBytes,
  rawBytesOf,
  rowBytes,
} from './framed-index.js'

/** The index of docs/formats/framed-layer-v1.md as bytes: frame table, page runs, trailer. */

const magic = 'VARVEFRM'
const version = 1
export const trailerBytes = 128
const runBytes = 8

/** No index is longer. */
export const maxIndexBytes =
  framesOf({ placedPages: maxPlacedPages, tailBytes: maxTailBytes }) * rowBytes +
  maxPageRuns * runBytes +
  trailerBytes

/** The trailer's own fields: enough to know how long the index is. */
export interface FramedTrailer extends FramedCounts {
  readonly runs: number
  readonly layerSha256: Buffer
  readonly checksum: number
  /** Length of frame table, page runs and trailer. */
  readonly indexBytes: number
}

export function frameRow({ codec, storedBytes, sha256 }: FrameEntry): Buffer {
  const row = Buffer.alloc(rowBytes)
  row.writeUIntLE(storedBytes, 0, 3)
  row[3] = frameCodecs.indexOf(codec)
  sha256.copy(row, 4)
  return row
}

export function framedIndexToBytes(index: Omit<FramedIndex, 'offsets'>): Buffer {
  const { table, runs, layerPages, placedPages, hotPages, tailBytes, layerDigest } = index
  const bytes = Buffer.alloc(table.length + runs.pages.length * runBytes + trailerBytes)
  table.copy(bytes)
  for (let i = 0, at = table.length; i < runs.pages.length; i++, at += runBytes) {
    bytes.writeUInt32LE(runs.pages[i] as number, at)
    bytes.writeUInt32LE(runs.counts[i] as number, at + 4)
  }
  const trailer = bytes.subarray(bytes.length - trailerBytes)
  trailer.write(magic, 0, 'latin1')
  trailer[8] = version
  trailer.writeUInt32LE(pageBytes, 12)
  trailer.writeUInt32LE(framePages, 16)
  trailer.writeUInt32LE(runs.pages.length, 20)
  for (const [i, value] of [layerPages, placedPages, hotPages, tailBytes].entries())
    trailer.writeBigUInt64LE(BigInt(value), 24 + 8 * i)
  trailer.write(hexOf(layerDigest), 60, 'hex')
  trailer.writeUInt32LE(crc32(bytes.subarray(0, bytes.length - 4)), 124)
  return bytes
}

/** Names the byte of the file, `where + offset`. */
export const refusal =
  (name: string, where: number) =>
  (
    offset: number,
    detail: string,
    code: 'FORMAT_INVALID' | 'FORMAT_UNSUPPORTED' | 'CHECKSUM_MISMATCH' = 'FORMAT_INVALID',
  ) =>
    new VarveError(code, `framed layer ${name}, byte ${where + offset}: ${detail}`, {
      details: { path: name, offset: where + offset },
      ...(code === 'FORMAT_UNSUPPORTED' ? { remedy: 'use a newer Varve' } : {}),
    })

/**
 * Reads the last 128 bytes of a file and checks what can be told from them and the file's size: afterwards
 * the index is known to lie in the file, and its length is bounded.
 */
export function readFramedTrailer(trailer: Buffer, fileBytes: number, name: string): FramedTrailer {
  const fail = refusal(name, fileBytes - trailerBytes)
  if (trailer.toString('latin1', 0, 8) !== magic)
    throw fail(0, `no ${magic} trailer; it is cut off, or it is no framed layer`)
  const found = trailer[8] as number
  if (found > version) throw fail(8, `version ${found}, this Varve knows ${version}`, 'FORMAT_UNSUPPORTED')
  if (found !== version) throw fail(8, `version ${found} is none`)
  for (const [from, to] of [
    [9, 12],
    [56, 60],
    [92, 124],
  ] as const)
    for (let i = from; i < to; i++) if (trailer[i] !== 0) throw fail(i, 'a reserved byte is not zero')
  if (trailer.readUInt32LE(12) !== pageBytes) throw fail(12, `pages of ${trailer.readUInt32LE(12)} bytes`)
  if (trailer.readUInt32LE(16) !== framePages) throw fail(16, `${trailer.readUInt32LE(16)} pages a frame`)
  const whole = (offset: number, low: number, high: number, what: string): number => {
    const value = trailer.readBigUInt64LE(offset)
    if (value < BigInt(low) || value > BigInt(high))
      throw fail(offset, `${value} ${what}, not ${low} to ${high}`)
    return Number(value)
  }
  const layerPages = whole(24, 0, layerPagesLimit, 'pages of the layer')
  const placedPages = whole(32, 0, Math.min(layerPages, maxPlacedPages), 'placed pages')
  const hotPages = whole(40, 0, placedPages, 'hot pages')
  const tailBytes = whole(48, minTailBytes, maxTailBytes, 'bytes behind the pages')
  const runs = trailer.readUInt32LE(20)
  if (runs > Math.min(placedPages, maxPageRuns)) throw fail(20, `${runs} page runs of ${placedPages} pages`)
  const counts = { layerPages, placedPages, hotPages, tailBytes }
  const indexBytes = framesOf(counts) * rowBytes + runs * runBytes + trailerBytes
  if (indexBytes > fileBytes) throw fail(20, `the index has ${indexBytes} bytes, the file only ${fileBytes}`)
  return {
    ...counts,
    runs,
    indexBytes,
    layerSha256: trailer.subarray(60, 92),
    checksum: trailer.readUInt32LE(124),
  }
}

/** Reads the whole index; the length of `bytes` is `trailer.indexBytes`. */
export function framedIndexFromBytes(
  bytes: Buffer,
  trailer: FramedTrailer,
  fileBytes: number,
  name: string,
): FramedIndex {
  const framesEnd = fileBytes - bytes.length
  const fail = refusal(name, framesEnd)
  const found = crc32(bytes.subarray(0, bytes.length - 4))
  if (found !== trailer.checksum)
    throw fail(0, `the index has CRC-32 ${hex(found)}, it says ${hex(trailer.checksum)}`, 'CHECKSUM_MISMATCH')
  const { layerPages, placedPages, hotPages, tailBytes } = trailer
  const table = bytes.subarray(0, framesOf(trailer) * rowBytes)
  const offsets = readTable(table, trailer, framesEnd, fail)
  const runs = readRuns(bytes, table.length, trailer, fail)
  const layerDigest = digestOf(trailer.layerSha256.toString('hex'))
  return { layerPages, placedPages, hotPages, tailBytes, layerDigest, table, offsets, runs }
}

type Fail = ReturnType<typeof refusal>

function readTable(table: Buffer, counts: FramedCounts, framesEnd: number, fail: Fail): Float64Array {
  const frames = table.length / rowBytes
  const offsets = new Float64Array(frames + 1)
  for (let frame = 0, at = 0; frame < frames; frame++, at += rowBytes) {
    const stored = table.readUIntLE(at, 3)
    const codec = table[at + 3] as number
    const raw = rawBytesOf(counts, frame)
    if (codec >= frameCodecs.length) throw fail(at + 3, `frame ${frame} has codec ${codec}`)
    if (codec === 0 ? stored !== raw : stored === 0 || stored >= raw)
      throw fail(at, `frame ${frame} of ${raw} bytes is stored in ${stored}, codec ${codec}`)
    offsets[frame + 1] = (offsets[frame] as number) + stored
  }
  if (offsets[frames] !== framesEnd)
    throw fail(0, `the frames have ${offsets[frames]} bytes together, not the ${framesEnd} before the index`)
  return offsets
}

function readRuns(
  bytes: Buffer,
  begin: number,
  { runs, layerPages, placedPages, hotPages }: FramedTrailer,
  fail: Fail,
): PageRuns {
  const pages = new Uint32Array(runs)
  const counts = new Uint32Array(runs)
  let place = 0
  for (let i = 0, at = begin; i < runs; i++, at += runBytes) {
    const page = bytes.readUInt32LE(at)
    const count = bytes.readUInt32LE(at + 4)
    if (count === 0) throw fail(at + 4, `page run ${i} is empty`)
    if (page + count > layerPages)
      throw fail(at, `page run ${i}, ${page}+${count}, ends behind ${layerPages}`)
    if (place < hotPages && place + count > hotPages)
      throw fail(at + 4, `page run ${i} lies across the end of the hot set, place ${hotPages}`)
    if (i > 0 && place !== hotPages && page === (pages[i - 1] as number) + (counts[i - 1] as number))
      throw fail(at, `page run ${i} continues the one before`)
    pages[i] = page
    counts[i] = count
    place += count
  }
  if (place !== placedPages) throw fail(begin, `the page runs have ${place} pages, not ${placedPages}`)
  const twice = firstOverlap(pages, counts)
  if (twice !== undefined) throw fail(begin, `page ${twice} of the layer is in two runs`)
  return { pages, counts }
}

function firstOverlap(pages: Uint32Array, counts: Uint32Array): number | undefined {
  let end = 0
  for (const i of inPageOrder(pages)) {
    const page = pages[i] as number
    if (page < end) return page
    end = page + (counts[i] as number)
  }
  return undefined
}

/**
 * The numbers of the runs, ascending by page. Page and number are one float, which is sorted without a
 * function that compares.
 */
export function inPageOrder(pages: Uint32Array): Uint32Array {
  const keys = Float64Array.from(pages, (page, i) => page * maxPageRuns + i).sort()
  return Uint32Array.from(keys, (key) => key % maxPageRuns)
}

const hex = (value: number) => value.toString(16).padStart(8, '0')
