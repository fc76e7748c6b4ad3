import { VarveError } from '../errors.js'
import { complement } from '../memory/page-set-algebra.js'
import { RunBuilder } from '../memory/run-builder.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ByteExtent, dataExtents, holeGranularityBytes } from '../sys/extents.js'
import { ChunkChecksums } from './chunk-checksums.js'
import { flatIndex } from './layer-index.js'
import type { LayerIndex } from './layer-types.js'
import { type MemoryFile, openMemoryFile, readPages } from './memory-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'
import { isZeroPage } from './zero-pages.js'

/**
 * Pages a read: 2 MiB, large enough for full disk speed, small enough for the CPU's cache and a prompt abort.
 */
const readChunkPages = 512

/** Options of `indexMemoryFile`. */
export interface IndexOptions {
  /** `base`: a hole is zero. `diff`: a hole is absent, the parent's page shows through. */
  readonly kind: 'base' | 'diff'
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Pages looked at so far; holes are not looked at. */
  readonly onProgress?: ((scannedPages: number) => void) | undefined
  /**
   * Gets the bytes of the data pages, in file order, one buffer after the other;
   * they are overwritten afterwards.
   */
  readonly onData?: ((pages: Buffer) => void) | undefined
}

/** What a memory file says of each page. */
export interface IndexedMemoryFile {
  /** The index of a flat layer of this file. */
  readonly index: LayerIndex
  /** CRC-32 of each chunk of data pages, as a layer footer has them. */
  readonly checksums: Uint32Array
}

/**
 * Finds out what a memory file says of each page, as Firecracker wrote it. Data extents (SEEK_DATA)
 * are read once; those pages that are all zero become zero, the others data. The file is only read,
 * and must not change meanwhile.
 */
export async function indexMemoryFile(
  path: string,
  { kind, signal, onProgress, onData }: IndexOptions,
): Promise<IndexedMemoryFile> {
  await using file = await openMemoryFile(path)
  const data = new RunBuilder()
  const zero = new RunBuilder()
  const checksums = new ChunkChecksums()
  const buffer = Buffer.allocUnsafe(readChunkPages * pageSizeBytes)
  const takeTurns = turnTaker()
  let scanned = 0
  let next = 0
  // All extents first: they come by the file position, and the list is small next to the index.
  for (const extent of [...dataExtents(file.handle.fd, file.pages * pageSizeBytes)]) {
    const { start, end } = pagesOfExtent(extent, file, kind)
    for (let page = Math.max(start, next); page < end; ) {
      throwIfAborted(signal, path)
      const count = Math.min(readChunkPages, end - page)
      const bytes = buffer.subarray(0, count * pageSizeBytes)
      await readPages(file, page, bytes)
      for (let i = 0; i < count; ) {
        const isZero = isZeroPage(bytes, i * pageSizeBytes)
        const from = i++
        while (i < count && isZeroPage(bytes, i * pageSizeBytes) === isZero) i++
        ;(isZero ? zero : data).add(page + from, i - from)
        if (isZero) continue
        const found = bytes.subarray(from * pageSizeBytes, i * pageSizeBytes)
        checksums.add(found)
        onData?.(found)
      }
      page += count
      next = page
      scanned += count
      onProgress?.(scanned)
      await takeTurns(count)
    }
  }
  const dataPages = data.finish()
  const zeroPages = kind === 'base' ? complement(dataPages, file.pages) : zero.finish()
  return { index: flatIndex(file.pages, dataPages, zeroPages), checksums: checksums.finish() }
}

/**
 * A base may have its extents rounded outwards (a hole is zero anyway); in a diff that
 * would hide the parent's pages.
 */
function pagesOfExtent(
  { startBytes, endBytes }: ByteExtent,
  file: MemoryFile,
  kind: IndexOptions['kind'],
): { start: number; end: number } {
  if (kind === 'diff' && (startBytes % pageSizeBytes !== 0 || endBytes % pageSizeBytes !== 0))
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `${file.path} has a data extent of bytes ${startBytes} to ${endBytes}, not of whole pages: which pages this Diff wrote cannot be told`,
      { remedy: 'take Diff snapshots on a file system with 4 KiB blocks (ext4, XFS, Btrfs, tmpfs)' },
    )
  return { start: Math.floor(startBytes / pageSizeBytes), end: Math.ceil(endBytes / pageSizeBytes) }
}

/**
 * Refuses a directory whose files cannot have a hole of one page. Call it before a Diff is taken
 * there: with larger blocks, unwritten pages next to written ones come back as zero data, and
 * afterwards they cannot be told apart.
 */
export function assertFinePages(directory: string): void {
  const bytes = holeGranularityBytes(directory)
  if (bytes > pageSizeBytes)
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `files in ${directory} have holes of ${bytes} bytes at least, more than a page of ${pageSizeBytes}`,
      {
        remedy:
          'take Diff snapshots on a file system with 4 KiB blocks (ext4, XFS, Btrfs, tmpfs without huge pages)',
        details: { directory, holeGranularityBytes: bytes },
      },
    )
}

/** Whether a Diff taken in this directory tells single pages apart. */
export function hasFinePages(directory: string): boolean {
  return holeGranularityBytes(directory) <= pageSizeBytes
}
