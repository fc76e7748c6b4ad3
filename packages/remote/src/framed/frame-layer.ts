import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { type Digest, VarveError } from 'varve'
import { dataPages, type Layer, type PackOrder } from 'varve/layers'
import {
  dataExtents,
  digestOf,
  hashBytes,
  hashFile,
  openRegular,
  publishFile,
  readAt,
  throwIfAborted,
  writeAt,
} from 'varve/testing'
import { has } from 'varve/working-sets'
import { compressFrame } from './compress-frame.js'
import {
  type FrameCodec,
  type FramedCounts,
  type FramedIndex,
  frameBytes,
  framesOf,
  hotFramesOf,
  maxTailBytes,
  pageBytes,
  pageFramesOf,
  rawBytesOf,
} from './framed-index.js'
import { framedIndexToBytes, frameRow } from './framed-index-bytes.js'
import { inTurn } from './in-turn.js'
import { PagePlaces } from './page-places.js'
import { placePages } from './place-pages.js'

/** Options of `frameLayer`. */
export interface FrameOptions {
  /** Sets of image pages, the first touched first: the default working set. Default: none. */
  readonly hot?: PackOrder | undefined
  /** How the frames of the hot set are stored. Default: lz4. */
  readonly hotCodec?: FrameCodec | undefined
  /** How the other frames are stored. Default: zstd. */
  readonly codec?: FrameCodec | undefined
  /** Of zstd, 1 to 15: above, it may make more blocks than the format allows. Default: 3. */
  readonly level?: number | undefined
  /** SHA-256 of the layer's file, if it is known: then the file is read once, not twice. */
  readonly layerDigest?: Digest | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Raw bytes that are in frames, and how many will be. */
  readonly onProgress?: ((framedBytes: number, totalBytes: number) => void) | undefined
}

/** A framed layer, and what a manifest says of it. */
export interface FramedLayer {
  /** The new file. */
  readonly path: string
  /** Its length. */
  readonly sizeBytes: number
  /** SHA-256 of the whole file. */
  readonly digest: Digest
  /** Length of its index. */
  readonly indexBytes: number
  /** SHA-256 of its index. */
  readonly indexDigest: Digest
  /** What its index says. */
  readonly index: FramedIndex
}

/** As many as libuv has threads, and one that is being read. */
const framesAtOnce = 5
const maxLevel = 15

/**
 * Writes a layer as a framed layer (docs/formats/framed-layer-v1.md): a new file, whole or not there. It
 * needs some MiB of memory and that of the index, however large the layer is. The layer is only read.
 * FORMAT_UNSUPPORTED if it has bytes that are no data and not zero, or exceeds the format's limits.
 */
export async function frameLayer(
  layer: Layer,
  outPath: string,
  options: FrameOptions = {},
): Promise<FramedLayer> {
  const { hot, hotCodec = 'lz4', codec = 'zstd', level = 3, signal, onProgress } = options
  throwIfAborted(signal, outPath)
  if (!(Number.isInteger(level) && level >= 1 && level <= maxLevel))
    throw new VarveError('INVALID_ARGUMENT', `level ${level} of zstd is not 1 to ${maxLevel}`)
  const plan = placePages(layer, hot)
  const layerPages = layer.storedPages
  const tailBytes = layer.sizeBytes - layerPages * pageBytes
  if (tailBytes > maxTailBytes)
    throw new VarveError('FORMAT_UNSUPPORTED', `the footer of layer ${layer.path} has ${tailBytes} bytes`)
  const counts: FramedCounts = {
    layerPages,
    tailBytes,
    placedPages: plan.placedPages,
    hotPages: plan.hotPages,
  }
  const places = new PagePlaces(plan)
  await using file = await openRegular(layer.path, { what: 'layer' })
  if (layer.layout === 'flat') await assertZeroElsewhere(file.handle, layer, signal)
  const layerDigest = options.layerDigest ?? (await hashFile(layer.path, { signal })).digest
  const ofPages = pageFramesOf(counts)
  const totalBytes = plan.placedPages * pageBytes + tailBytes

  const frame = async (number: number) => {
    throwIfAborted(signal, outPath)
    const raw = Buffer.allocUnsafe(rawBytesOf(counts, number))
    if (number >= ofPages)
      await readAt(file.handle, layer.path, raw, layerPages * pageBytes + (number - ofPages) * frameBytes)
    else
      for (const { page, place, count } of places.pagesOf(number)) {
        const at = place * pageBytes - number * frameBytes
        await readAt(file.handle, layer.path, raw.subarray(at, at + count * pageBytes), page * pageBytes)
      }
    const wanted = number < hotFramesOf(counts) ? hotCodec : codec
    return { raw, stored: await compressFrame(raw, wanted, level) }
  }

  // Awaited here: the layer closes when this function returns.
  return await publishFile(outPath, async (out) => {
    const whole = createHash('sha256')
    const rows: Buffer[] = []
    const offsets = new Float64Array(framesOf(counts) + 1)
    let [at, framed] = [0, 0]
    const append = (bytes: Buffer) => {
      writeAt(out, bytes, at)
      whole.update(bytes)
      at += bytes.length
    }
    for await (const { raw, stored } of inTurn(offsets.subarray(1).keys(), framesAtOnce, frame)) {
      throwIfAborted(signal, outPath)
      const sha256 = createHash('sha256').update(stored.bytes).digest()
      rows.push(frameRow({ codec: stored.codec, storedBytes: stored.bytes.length, sha256 }))
      append(stored.bytes)
      offsets[rows.length] = at
      framed += raw.length
      onProgress?.(framed, totalBytes)
    }
    const parts = { ...counts, layerDigest, table: Buffer.concat(rows), runs: plan.runs }
    const bytes = framedIndexToBytes(parts)
    append(bytes)
    return {
      path: outPath,
      sizeBytes: at,
      digest: digestOf(whole.digest('hex')),
      indexBytes: bytes.length,
      indexDigest: hashBytes(bytes),
      index: { ...parts, offsets },
    }
  })
}

const zeros = Buffer.alloc(frameBytes)

/** What no index entry calls data comes back as zeros. Only stretches that are no holes are read. */
async function assertZeroElsewhere(
  handle: FileHandle,
  layer: Layer,
  signal: AbortSignal | undefined,
): Promise<void> {
  const data = dataPages(layer.index)
  const buffer = Buffer.allocUnsafe(pageBytes)
  for (const { startBytes, endBytes } of [...dataExtents(handle.fd, layer.storedPages * pageBytes)])
    for (let page = Math.floor(startBytes / pageBytes); page * pageBytes < endBytes; page++) {
      if (has(data, page)) continue
      throwIfAborted(signal, layer.path)
      await readAt(handle, layer.path, buffer, page * pageBytes)
      if (buffer.compare(zeros, 0, pageBytes) === 0) continue
      throw new VarveError(
        'FORMAT_UNSUPPORTED',
        `layer ${layer.path}, byte ${page * pageBytes}: page ${page} is no data, but not zero`,
        { remedy: 'pack the layer: what is no data is left out', details: { path: layer.path, page } },
      )
    }
}
