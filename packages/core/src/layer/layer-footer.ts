import { crc32 } from 'node:zlib'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { countPages, imagePagesLimit, maxIndexRuns, storedRuns } from './layer-index.js'
import { type ImageId, type LayerIndex, type LayerLayout, zeroPage } from './layer-types.js'

/** The binary footer of docs/formats/layer-v1.md, without the pages before it. */

const layerMagic = 'VARVELYR'
const layerVersion = 1
export const trailerBytes = 128
export const runBytes = 12
export const checksumBytes = 4

/** No layer of an image of so many pages is longer: each page stored, and in a run of its own. */
export const largestLayerBytes = (pages: number): number =>
  pages * pageSizeBytes +
  Math.min(pages, maxIndexRuns) * runBytes +
  Math.ceil(pages / chunkPages) * checksumBytes +
  trailerBytes
/** Data pages a checksum: 2 MiB. */
export const chunkPages = 512

const layouts: readonly LayerLayout[] = ['flat', 'packed']
const imageIdBytes = 16

export interface LayerFooter {
  readonly layout: LayerLayout
  readonly image: ImageId
  readonly parent: ImageId | null
  readonly index: LayerIndex
  /** One CRC-32 for each chunk of 512 data pages in file order. */
  readonly checksums: Uint32Array
}

/** The trailer’s own fields: enough to know where the rest is. */
interface LayerTrailer {
  readonly layout: LayerLayout
  readonly complete: boolean
  readonly pages: number
  readonly storedPages: number
  readonly runs: number
  readonly chunks: number
  readonly image: ImageId
  readonly parent: ImageId | null
  readonly checksum: number
}

export function footerToBytes({ layout, image, parent, index, checksums }: LayerFooter): Buffer {
  const { pages, starts, counts, storedStarts } = index
  const { data, absent } = countPages(index)
  if (parent === null && absent !== 0)
    throw new VarveError('INVALID_ARGUMENT', `a base layer leaves ${absent} of its ${pages} pages absent`)
  const runsLength = starts.length * runBytes
  const bytes = Buffer.alloc(runsLength + checksums.length * checksumBytes + trailerBytes)
  for (let i = 0, at = 0; i < starts.length; i++, at += runBytes) {
    bytes.writeUInt32LE(starts[i] as number, at)
    bytes.writeUInt32LE(counts[i] as number, at + 4)
    bytes.writeUInt32LE(storedStarts[i] as number, at + 8)
  }
  for (let i = 0; i < checksums.length; i++)
    bytes.writeUInt32LE(checksums[i] as number, runsLength + i * checksumBytes)
  const trailer = bytes.subarray(bytes.length - trailerBytes)
  trailer.write(layerMagic, 0, 'latin1')
  trailer[8] = layerVersion
  trailer[9] = layouts.indexOf(layout)
  trailer[10] = parent === null ? 1 : 0
  trailer.writeUInt32LE(pageSizeBytes, 12)
  trailer.writeBigUInt64LE(BigInt(pages), 16)
  trailer.writeBigUInt64LE(BigInt(layout === 'flat' ? pages : data), 24)
  trailer.writeBigUInt64LE(BigInt(starts.length), 32)
  trailer.writeBigUInt64LE(BigInt(checksums.length), 40)
  trailer.writeUInt32LE(chunkPages, 48)
  trailer.write(image, 64, 'hex')
  if (parent !== null) trailer.write(parent, 80, 'hex')
  trailer.writeUInt32LE(crc32(bytes.subarray(0, bytes.length - 4)), 124)
  return bytes
}

/**
 * Reads the trailer, the file's last 128 bytes, and checks what can be told from it and the file's size:
 * afterwards runs and checksums are known to lie in the file, and how long they are.
 */
export function readTrailer(trailer: Buffer, fileBytes: number, path: string): LayerTrailer {
  const at = fileBytes - trailerBytes
  const fail = (
    offset: number,
    detail: string,
    code: 'FORMAT_INVALID' | 'FORMAT_UNSUPPORTED' = 'FORMAT_INVALID',
  ) =>
    new VarveError(code, `layer ${path}, byte ${at + offset}: ${detail}`, {
      details: { path, offset: at + offset },
      ...(code === 'FORMAT_UNSUPPORTED' ? { remedy: 'use a newer Varve' } : {}),
    })
  if (trailer.toString('latin1', 0, 8) !== layerMagic)
    throw fail(0, `no ${layerMagic} footer; it is cut off, or it is not a layer`)
  const version = trailer[8] as number
  if (version > layerVersion)
    throw fail(8, `layer version ${version}, this Varve knows ${layerVersion}`, 'FORMAT_UNSUPPORTED')
  if (version !== layerVersion) throw fail(8, `version ${version} is none`)
  const layout = layouts[trailer[9] as number]
  if (layout === undefined) throw fail(9, `layout ${trailer[9]} is neither 0 (flat) nor 1 (packed)`)
  const complete = trailer[10] as number
  if (complete > 1) throw fail(10, `complete is ${complete}`)
  const pageSize = trailer.readUInt32LE(12)
  if (pageSize !== pageSizeBytes) throw fail(12, `pages of ${pageSize} bytes, not ${pageSizeBytes}`)
  if (trailer.readUInt32LE(48) !== chunkPages)
    throw fail(48, `${trailer.readUInt32LE(48)} pages a chunk, not ${chunkPages}`)
  for (const [from, to] of [
    [11, 12],
    [52, 64],
    [96, 124],
  ] as const)
    for (let i = from; i < to; i++) if (trailer[i] !== 0) throw fail(i, 'a reserved byte is not zero')
  const whole = (offset: number, limit: number, what: string): number => {
    const value = trailer.readBigUInt64LE(offset)
    if (value > BigInt(limit)) throw fail(offset, `${value} ${what}, more than ${limit}`)
    return Number(value)
  }
  const pages = whole(16, imagePagesLimit, 'image pages')
  if (pages === 0) throw fail(16, 'an image of 0 pages')
  const storedPages = whole(24, pages, 'stored pages')
  if (layout === 'flat' && storedPages !== pages)
    throw fail(24, `a flat layer stores ${storedPages} of its ${pages} pages`)
  const runs = whole(32, Math.min(pages, maxIndexRuns), 'runs')
  const chunks = whole(40, Math.ceil(storedPages / chunkPages), 'chunks')
  const size = storedPages * pageSizeBytes + runs * runBytes + chunks * checksumBytes + trailerBytes
  if (size !== fileBytes) throw fail(16, `the footer tells of ${size} bytes, the file has ${fileBytes}`)
  const id = (offset: number) => trailer.toString('hex', offset, offset + imageIdBytes)
  const image = id(64)
  const parent = id(80)
  if (/^0+$/.test(image)) throw fail(64, 'the identity of the image is all zero')
  const hasParent = !/^0+$/.test(parent)
  if ((complete === 1) === hasParent)
    throw fail(10, `complete is ${complete} ${hasParent ? 'with' : 'without'} a parent`)
  return {
    layout,
    complete: complete === 1,
    pages,
    storedPages,
    runs,
    chunks,
    image,
    parent: hasParent ? parent : null,
    checksum: trailer.readUInt32LE(124),
  }
}

/**
 * Reads the whole footer. `bytes` is runs, checksums and trailer as they lie in the file from `footerOffset`
 * on; its length was checked against the trailer.
 */
export function footerFromBytes(
  bytes: Buffer,
  trailer: LayerTrailer,
  footerOffset: number,
  path: string,
): LayerFooter {
  const fail = (offset: number, detail: string) =>
    new VarveError('FORMAT_INVALID', `layer ${path}, byte ${footerOffset + offset}: ${detail}`, {
      details: { path, offset: footerOffset + offset },
    })
  const found = crc32(bytes.subarray(0, bytes.length - 4))
  if (found !== trailer.checksum)
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `layer ${path}, byte ${footerOffset}: the footer has CRC-32 ${hex(found)}, it says ${hex(trailer.checksum)}`,
      { details: { path, offset: footerOffset } },
    )
  const { layout, pages, storedPages, runs, chunks } = trailer
  const index = readRuns(bytes, runs, trailer, fail)
  const { data, absent } = countPages(index)
  if (layout === 'packed') {
    if (data !== storedPages)
      throw fail(0, `the runs name ${data} data pages, the file stores ${storedPages}`)
    let next = 0
    for (const { start, storedPage, count } of storedRuns(index)) {
      if (storedPage !== next)
        throw fail(0, `page ${start} is stored at ${storedPage}, where ${next} comes next`)
      next += count
    }
  }
  if (trailer.complete && absent !== 0) throw fail(0, `a base leaves ${absent} of its ${pages} pages absent`)
  if (chunks !== Math.ceil(data / chunkPages)) throw fail(0, `${chunks} checksums for ${data} data pages`)
  const checksums = new Uint32Array(chunks)
  for (let i = 0; i < chunks; i++) checksums[i] = bytes.readUInt32LE(runs * runBytes + i * checksumBytes)
  return { layout, image: trailer.image, parent: trailer.parent, index, checksums }
}

function readRuns(
  bytes: Buffer,
  runs: number,
  { layout, pages, storedPages: stored }: LayerTrailer,
  fail: (offset: number, detail: string) => VarveError,
): LayerIndex {
  const starts = new Uint32Array(runs)
  const counts = new Uint32Array(runs)
  const storedStarts = new Uint32Array(runs)
  let end = 0
  for (let i = 0, at = 0; i < runs; i++, at += runBytes) {
    const start = bytes.readUInt32LE(at)
    const count = bytes.readUInt32LE(at + 4)
    const storedPage = bytes.readUInt32LE(at + 8)
    if (count === 0) throw fail(at + 4, `run ${i} is empty`)
    if (start < end) throw fail(at, `run ${i} begins at page ${start}, before ${end}`)
    if (start + count > pages)
      throw fail(at, `run ${i}, ${start}+${count}, ends behind the image's ${pages} pages`)
    if (storedPage !== zeroPage) {
      if (layout === 'flat' && storedPage !== start)
        throw fail(at + 8, `run ${i} stores page ${start} at ${storedPage} of a flat layer`)
      if (storedPage + count > stored) throw fail(at + 8, `run ${i} ends behind the ${stored} stored pages`)
    }
    if (i > 0 && start === end) {
      const before = storedStarts[i - 1] as number
      const continues =
        storedPage === zeroPage
          ? before === zeroPage
          : before !== zeroPage && before + (counts[i - 1] as number) === storedPage
      if (continues) throw fail(at, `run ${i} continues the one before`)
    }
    starts[i] = start
    counts[i] = count
    storedStarts[i] = storedPage
    end = start + count
  }
  return { pages, starts, counts, storedStarts }
}

const hex = (value: number) => value.toString(16).padStart(8, '0')
