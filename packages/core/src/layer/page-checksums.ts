import { crc32 } from 'node:zlib'
import { type PageSet, runAtOrBefore } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { chunkPages } from './layer-footer.js'
import { type MemoryFile, readPages } from './memory-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

interface ReadChecksumsOptions {
  readonly signal?: AbortSignal | undefined
  readonly onPages?: ((pages: number) => void) | undefined
}

/**
 * The CRC-32 of single pages of a file, read once. Those of any sequence of pages come from them
 * by arithmetic: the chunks that the file's own layer has, and the chunks of a new layer that
 * holds the pages in another order.
 */
export class PageChecksums {
  readonly #pages: PageSet
  /** Of all pages before the run. */
  readonly #before: Float64Array
  readonly #checksums: Uint32Array

  constructor(pages: PageSet) {
    this.#pages = pages
    this.#checksums = new Uint32Array(pages.pages)
    this.#before = new Float64Array(pages.starts.length)
    for (let i = 1; i < pages.starts.length; i++)
      this.#before[i] = (this.#before[i - 1] as number) + (pages.counts[i - 1] as number)
  }

  async read(file: MemoryFile, { signal, onPages }: ReadChecksumsOptions): Promise<void> {
    const { starts, counts } = this.#pages
    const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
    const pageOf = Array.from({ length: chunkPages }, (_, i) =>
      buffer.subarray(i * pageSizeBytes, (i + 1) * pageSizeBytes),
    )
    const takeTurns = turnTaker()
    let next = 0
    for (let run = 0; run < starts.length; run++)
      for (let done = 0; done < (counts[run] as number); ) {
        throwIfAborted(signal, file.path)
        const count = Math.min(chunkPages, (counts[run] as number) - done)
        await readPages(file, (starts[run] as number) + done, buffer.subarray(0, count * pageSizeBytes))
        for (let i = 0; i < count; i++) this.#checksums[next++] = crc32(pageOf[i] as Buffer)
        done += count
        onPages?.(count)
        await takeTurns(count)
      }
  }

  /** Adds `count` pages that lie one after the other in the file. */
  addTo(chunks: ChunkBuilder, page: number, count: number): void {
    const run = runAtOrBefore(this.#pages.starts, page)
    const first = (this.#before[run] as number) + page - (this.#pages.starts[run] as number)
    for (let i = first; i < first + count; i++) chunks.add(this.#checksums[i] as number)
  }

  /** Of all the pages, in file order. */
  chunks(): Uint32Array {
    const chunks = new ChunkBuilder()
    for (const checksum of this.#checksums) chunks.add(checksum)
    return chunks.finish()
  }
}

/** CRC-32 of each chunk of 512 pages, from those of the pages. */
export class ChunkBuilder {
  readonly #finished: number[] = []
  readonly #shift = shiftTables()
  #checksum = 0
  #filled = 0

  add(page: number): void {
    const crc = this.#checksum
    const shift = this.#shift
    const shifted =
      (shift[crc & 0xff] as number) ^
      (shift[256 + ((crc >>> 8) & 0xff)] as number) ^
      (shift[512 + ((crc >>> 16) & 0xff)] as number) ^
      (shift[768 + (crc >>> 24)] as number)
    this.#checksum = (shifted ^ page) >>> 0
    if (++this.#filled === chunkPages) this.#close()
  }

  #close(): void {
    this.#finished.push(this.#checksum)
    this.#checksum = 0
    this.#filled = 0
  }

  finish(): Uint32Array {
    if (this.#filled > 0) this.#close()
    return Uint32Array.from(this.#finished)
  }
}

let tables: Uint32Array | undefined

/**
 * crc(A ‖ page) = shift(crc(A)) ^ crc(page), where shift is linear over bits: one table for each byte of its
 * argument. The same is crc32_combine of zlib, for a second part of 4,096 bytes.
 */
function shiftTables(): Uint32Array {
  if (tables !== undefined) return tables
  const zeros = Buffer.alloc(pageSizeBytes)
  const ofZeros = crc32(zeros)
  const made = new Uint32Array(4 * 256)
  for (let byte = 0; byte < 4; byte++)
    for (let value = 0; value < 256; value++)
      made[byte * 256 + value] = crc32(zeros, (value << (8 * byte)) >>> 0) ^ ofZeros
  tables = made
  return made
}
