import type { FileHandle } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { has, type PageSet } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { dataExtents } from '../sys/extents.js'
import {
  createFile,
  openForWriting,
  punchHole,
  removeFile,
  syncFile,
  type WritableFile,
  writeAt,
} from '../sys/mutations.js'
import { openRegular } from '../sys/open-regular.js'
import { ChunkChecksums } from './chunk-checksums.js'
import { indexMemoryFile } from './index-memory-file.js'
import {
  checksumBytes,
  chunkPages,
  footerFromBytes,
  footerToBytes,
  type LayerFooter,
  readTrailer,
  runBytes,
  trailerBytes,
} from './layer-footer.js'
import { dataPages, packedIndex, type StoredRun, storedRuns } from './layer-index.js'
import { type ImageId, type Layer, type LayerIndex, zeroPage } from './layer-types.js'
import { readAt } from './memory-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** Options of `sealLayer`. */
export interface SealOptions {
  /** The id of the image that the layer completes. */
  readonly image: ImageId
  /** The image that this layer's absent pages come from; null where a hole is zero: the layer is a base. */
  readonly parent: ImageId | null
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Pages looked at so far. */
  readonly onProgress?: ((scannedPages: number) => void) | undefined
}

/**
 * Makes a flat layer of a memory file that Firecracker wrote: indexes it, gives back the space of zero pages,
 * appends the footer, then syncs. A file with a second name is refused, because another program may use it.
 */
export async function sealLayer(path: string, options: SealOptions): Promise<Layer> {
  const { image, parent, signal, onProgress } = options
  const { index, checksums } = await indexMemoryFile(path, {
    kind: parent === null ? 'base' : 'diff',
    signal,
    onProgress,
  })
  await using file = await openForWriting(path)
  const { nlink, size } = await file.handle.stat()
  if (nlink > 1)
    throw new VarveError('PATH_INVALID', `${path} has ${nlink} names; it is not written to`, {
      remedy: 'copy it, and make a layer of the copy',
    })
  if (size !== index.pages * pageSizeBytes)
    throw new VarveError('IMAGE_MISMATCH', `${path} changed its size to ${size} bytes while it was indexed`)
  punchZeroPages(file, index)
  const layer = appendFooter(file, { layout: 'flat', image, parent, index, checksums })
  await syncFile(file)
  return layer
}

/** Shorter runs keep their blocks: each hole is an extent more, and every later reader pays for it. */
const leastHolePages = 16

/** A Full is dense: its zero pages take blocks, and writing those back is most of what its fsync costs. */
function punchZeroPages(file: WritableFile, { starts, counts, storedStarts }: LayerIndex): void {
  for (let run = 0; run < starts.length; run++) {
    const [start, count] = [starts[run] as number, counts[run] as number]
    if (storedStarts[run] !== zeroPage || count < leastHolePages) continue
    if (!punchHole(file, start * pageSizeBytes, count * pageSizeBytes)) return
  }
}

/**
 * Makes a packed layer of a memory file, as a new file, in one pass over its data: what a
 * sparse Diff costs to keep, hash and send then depends on its data alone, not on the guest's
 * size. The memory file is only read.
 */
export async function sealPacked(
  path: string,
  packedPath: string,
  { image, parent, signal, onProgress }: SealOptions,
): Promise<Layer> {
  const file = await createFile(packedPath)
  try {
    await using _close = file
    let offset = 0
    const { index, checksums } = await indexMemoryFile(path, {
      kind: parent === null ? 'base' : 'diff',
      signal,
      onProgress,
      onData: (pages) => {
        writeAt(file, pages, offset)
        offset += pages.length
      },
    })
    const layer = appendFooter(file, {
      layout: 'packed',
      image,
      parent,
      index: packedIndex(index),
      checksums,
    })
    await syncFile(file)
    return layer
  } catch (error) {
    await removeFile(packedPath)
    throw error
  }
}

/** Appends the footer to a file that holds the layer's stored pages and nothing else. The caller syncs. */
export function appendFooter(file: WritableFile, footer: LayerFooter): Layer {
  const bytes = footerToBytes(footer)
  const storedPages = Number(bytes.readBigUInt64LE(bytes.length - trailerBytes + 24))
  writeAt(file, bytes, storedPages * pageSizeBytes)
  return {
    ...footer,
    path: file.path,
    storedPages,
    sizeBytes: storedPages * pageSizeBytes + bytes.length,
  }
}

/**
 * Reads and checks a layer's footer, not its pages. FORMAT_INVALID, FORMAT_UNSUPPORTED and
 * CHECKSUM_MISMATCH name the byte.
 */
export async function readLayer(
  path: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Layer> {
  throwIfAborted(signal, path)
  await using file = await openRegular(path, { what: 'layer' })
  const { handle } = file
  const { size } = file.stat
  if (size < trailerBytes)
    throw new VarveError('FORMAT_INVALID', `layer ${path} has ${size} bytes, less than a footer`, {
      details: { path, offset: 0 },
    })
  const last = Buffer.alloc(trailerBytes)
  await readAt(handle, path, last, size - trailerBytes)
  const trailer = readTrailer(last, size, path)
  const length = trailer.runs * runBytes + trailer.chunks * checksumBytes + trailerBytes
  const bytes = Buffer.allocUnsafe(length)
  await readAt(handle, path, bytes, size - length)
  const footer = footerFromBytes(bytes, trailer, size - length, path)
  return { ...footer, path, storedPages: trailer.storedPages, sizeBytes: size }
}

/** Options of `verifyLayer`. */
export interface VerifyOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Called with the pages verified so far, and how many must be verified. */
  readonly onProgress?: ((verifiedPages: number, totalPages: number) => void) | undefined
}

/**
 * Reads every data page and compares with the checksums; of a flat base also that what is not data reads as
 * zero, as Firecracker would read it so. The first difference is CHECKSUM_MISMATCH, with its `offset` in the
 * file in `details`: the byte for a page that should be zero, the begin of the chunk for data.
 */
export async function verifyLayer(layer: Layer, { signal, onProgress }: VerifyOptions = {}): Promise<void> {
  await using file = await openRegular(layer.path, { what: 'layer' })
  const runs = storedRuns(layer.index)
  const total = runs.reduce((sum, { count }) => sum + count, 0)
  const found = await checksumRuns(file.handle, layer.path, runs, { signal, onProgress })
  const bad = layer.checksums.findIndex((checksum, chunk) => checksum !== found[chunk])
  if (bad >= 0) {
    const place = placeOfChunk(runs, bad)
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `layer ${layer.path}, byte ${place.storedPage * pageSizeBytes}: chunk ${bad} of ${layer.checksums.length} (from page ${place.start} on, ${Math.min(chunkPages, total - bad * chunkPages)} data pages) has CRC-32 ${hex(found[bad])}, not ${hex(layer.checksums[bad])}`,
      { details: { path: layer.path, offset: place.storedPage * pageSizeBytes, chunk: bad } },
    )
  }
  if (layer.layout === 'flat' && layer.parent === null)
    await assertZeroElsewhere(file.handle, layer, dataPages(layer.index), signal)
}

async function checksumRuns(
  handle: FileHandle,
  path: string,
  runs: readonly StoredRun[],
  { signal, onProgress }: VerifyOptions,
): Promise<Uint32Array> {
  const checksums = new ChunkChecksums()
  const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
  const total = runs.reduce((sum, { count }) => sum + count, 0)
  const takeTurns = turnTaker()
  let done = 0
  for (const { storedPage, count } of runs)
    for (let offset = 0; offset < count; offset += chunkPages) {
      throwIfAborted(signal, path)
      const pages = Math.min(chunkPages, count - offset)
      const bytes = buffer.subarray(0, pages * pageSizeBytes)
      await readAt(handle, path, bytes, (storedPage + offset) * pageSizeBytes)
      checksums.add(bytes)
      done += pages
      onProgress?.(done, total)
      await takeTurns(pages)
    }
  return checksums.finish()
}

/** Where the first data page of a chunk lies. */
function placeOfChunk(runs: readonly StoredRun[], chunk: number): StoredRun {
  let left = chunk * chunkPages
  for (const { start, storedPage, count } of runs) {
    if (left < count) return { start: start + left, storedPage: storedPage + left, count: count - left }
    left -= count
  }
  return { start: 0, storedPage: 0, count: 0 }
}

async function assertZeroElsewhere(
  handle: FileHandle,
  layer: Layer,
  data: PageSet,
  signal: AbortSignal | undefined,
): Promise<void> {
  const page = Buffer.allocUnsafe(pageSizeBytes)
  for (const { startBytes, endBytes } of [...dataExtents(handle.fd, layer.storedPages * pageSizeBytes)])
    for (
      let at = Math.floor(startBytes / pageSizeBytes) * pageSizeBytes;
      at < endBytes;
      at += pageSizeBytes
    ) {
      if (has(data, at / pageSizeBytes)) continue
      throwIfAborted(signal, layer.path)
      await readAt(handle, layer.path, page, at)
      const wrong = page.findIndex((byte) => byte !== 0)
      if (wrong >= 0)
        throw new VarveError(
          'CHECKSUM_MISMATCH',
          `layer ${layer.path}, byte ${at + wrong}: page ${at / pageSizeBytes} is zero in the index, but not in the file`,
          { details: { path: layer.path, offset: at + wrong } },
        )
    }
}

const hex = (value: number | undefined) => (value ?? 0).toString(16).padStart(8, '0')
