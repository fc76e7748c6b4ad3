import { crc32 } from 'node:zlib'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ExtentMap, maxLayers, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { imagePagesLimit } from './layer-index.js'

/** The footer of docs/formats/layered-memory-v1.md, without the pages before it. */

const magic = 'VARVEMEM'
const version = 1
export const trailerBytes = 64
const rangeBytes = 16
const zeroFile = 0xffff_ffff
/** 64 MiB of footer. */
const maxRanges = 2 ** 22
/** In addition to the memory file itself. */
const maxFiles = maxLayers - 1
const namePattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$/

/** The trailer's own fields: enough to know where the rest is. */
interface LayeredMemoryTrailer {
  readonly pages: number
  readonly files: number
  readonly namesBytes: number
  readonly ranges: number
}

/** Source 0 of `map` is the memory file itself, page p at p × 4096; source i is `names[i - 1]`. */
interface LayeredMemoryFooter {
  readonly names: readonly string[]
  readonly map: ExtentMap
}

export function layeredMemoryToBytes({ names, map }: LayeredMemoryFooter): Buffer {
  const { pages, starts, counts, sources, storedStarts } = map
  const inPlace = (run: number) => sources[run] === 0 && storedStarts[run] === starts[run]
  const runs = [...starts.keys()].filter((run) => !inPlace(run))
  const named = names.map((name) => Buffer.concat([Buffer.of(name.length), Buffer.from(name, 'latin1')]))
  if (names.length > maxFiles || !names.every((name) => namePattern.test(name)) || runs.length > maxRanges)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${names.length} files and ${runs.length} ranges: ${names.slice(0, 5)}`,
    )
  if (runs.some((run) => sources[run] === 0))
    throw new VarveError('INVALID_ARGUMENT', 'a page of the memory file lies at another place than its own')
  const ranges = Buffer.alloc(runs.length * rangeBytes)
  for (const [i, run] of runs.entries()) {
    const source = sources[run] as number
    ranges.writeUInt32LE(starts[run] as number, i * rangeBytes)
    ranges.writeUInt32LE(counts[run] as number, i * rangeBytes + 4)
    ranges.writeUInt32LE(source === zeroSource ? zeroFile : source - 1, i * rangeBytes + 8)
    ranges.writeUInt32LE(storedStarts[run] as number, i * rangeBytes + 12)
  }
  const trailer = Buffer.alloc(trailerBytes)
  trailer.write(magic, 0, 'latin1')
  trailer[8] = version
  trailer.writeUInt32LE(pageSizeBytes, 12)
  trailer.writeBigUInt64LE(BigInt(pages), 16)
  trailer.writeUInt32LE(names.length, 24)
  trailer.writeUInt32LE(
    named.reduce((sum, { length }) => sum + length, 0),
    28,
  )
  trailer.writeBigUInt64LE(BigInt(runs.length), 32)
  const bytes = Buffer.concat([...named, ranges, trailer])
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

/**
 * Checks what can be told from the last 64 bytes and the file's size: how long the
 * footer is, and that it is there.
 */
export function readLayeredMemoryTrailer(
  bytes: Buffer,
  fileBytes: number,
  path: string,
): LayeredMemoryTrailer {
  const fail = failure(path, fileBytes - trailerBytes)
  if (bytes.toString('latin1', 0, 8) !== magic)
    throw fail(0, `no ${magic} footer; it is cut off, or a memory file without one`)
  const found = bytes[8] as number
  if (found > version)
    throw new VarveError('FORMAT_UNSUPPORTED', `${path}: version ${found}, this Varve knows ${version}`, {
      remedy: 'use a newer Varve',
      details: { path, offset: fileBytes - trailerBytes + 8 },
    })
  if (found !== version) throw fail(8, `version ${found} is none`)
  for (const [from, to] of [
    [9, 12],
    [40, 60],
  ] as const)
    for (let i = from; i < to; i++) if (bytes[i] !== 0) throw fail(i, 'a reserved byte is not zero')
  const pageSize = bytes.readUInt32LE(12)
  if (pageSize !== pageSizeBytes) throw fail(12, `pages of ${pageSize} bytes, not ${pageSizeBytes}`)
  const pages = Number(bytes.readBigUInt64LE(16))
  if (pages < 1 || pages > imagePagesLimit) throw fail(16, `${pages} pages`)
  const files = bytes.readUInt32LE(24)
  if (files > maxFiles) throw fail(24, `${files} files, more than ${maxFiles}`)
  const namesBytes = bytes.readUInt32LE(28)
  if (namesBytes > files * 256) throw fail(28, `${namesBytes} bytes for ${files} names`)
  const ranges = Number(bytes.readBigUInt64LE(32))
  if (ranges > Math.min(pages, maxRanges)) throw fail(32, `${ranges} ranges of ${pages} pages`)
  const size = pages * pageSizeBytes + namesBytes + ranges * rangeBytes + trailerBytes
  if (size !== fileBytes) throw fail(16, `the footer tells of ${size} bytes, the file has ${fileBytes}`)
  return { pages, files, namesBytes, ranges }
}

/** Names first: how many whole pages their files have is not known before. `bytes` is the whole footer. */
export function layeredMemoryNames(
  bytes: Buffer,
  trailer: LayeredMemoryTrailer,
  path: string,
): readonly string[] {
  const fail = failure(path, trailer.pages * pageSizeBytes)
  const checksum = bytes.readUInt32LE(bytes.length - 4)
  if (crc32(bytes.subarray(0, -4)) !== checksum)
    throw new VarveError('CHECKSUM_MISMATCH', `${path}: its footer’s CRC-32 does not fit`, {
      details: { path, offset: trailer.pages * pageSizeBytes },
    })
  const names: string[] = []
  let at = 0
  while (names.length < trailer.files) {
    const length = at < trailer.namesBytes ? (bytes[at] as number) : 0
    const name = bytes.toString('latin1', at + 1, Math.min(at + 1 + length, trailer.namesBytes))
    if (name.length !== length || !namePattern.test(name))
      throw fail(at, `the name of file ${names.length} is no plain name`)
    if (names.includes(name)) throw fail(at, `${name} is named twice`)
    names.push(name)
    at += 1 + length
  }
  if (at !== trailer.namesBytes) throw fail(at, 'something is left behind the names')
  return names
}

/** `storedPages`: whole pages of each named file. */
export function layeredMemoryMap(
  bytes: Buffer,
  { pages, ranges, namesBytes }: LayeredMemoryTrailer,
  storedPages: readonly number[],
  path: string,
): ExtentMap {
  const fail = failure(path, pages * pageSizeBytes)
  const builder = new ExtentMapBuilder(2 * ranges + 1)
  let end = 0
  for (let i = 0, at = namesBytes; i < ranges; i++, at += rangeBytes) {
    const [start, count, file, page] = [0, 4, 8, 12].map((offset) => bytes.readUInt32LE(at + offset)) as [
      number,
      number,
      number,
      number,
    ]
    if (count === 0) throw fail(at + 4, `range ${i} is empty`)
    if (start < end) throw fail(at, `range ${i} begins at page ${start}, before ${end}`)
    if (start + count > pages) throw fail(at, `range ${i}, ${start}+${count}, ends behind ${pages} pages`)
    builder.add(start - end, 0, end)
    if (file === zeroFile) {
      if (page !== 0) throw fail(at + 12, `range ${i} of zeros lies at page ${page}`)
      builder.add(count, zeroSource, 0)
    } else {
      const stored = storedPages[file]
      if (stored === undefined) throw fail(at + 8, `range ${i} is in file ${file} of ${storedPages.length}`)
      if (page + count > stored) throw fail(at + 12, `range ${i} ends behind the ${stored} pages of its file`)
      builder.add(count, file + 1, page)
    }
    end = start + count
  }
  builder.add(pages - end, 0, end)
  return builder.finish()
}

const failure = (path: string, footerAt: number) => (offset: number, detail: string) =>
  new VarveError('FORMAT_INVALID', `${path}, byte ${footerAt + offset}: ${detail}`, {
    details: { path, offset: footerAt + offset },
  })
