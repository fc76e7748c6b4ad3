import { writeSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { copyFileRange } from '../sys/reflink.js'
import { zeroSource } from './extent-map.js'
import { type Image, openImageLayers } from './image-reader.js'
import { type MemoryFile, readPages } from './memory-file.js'
import { publishFile } from './publish-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** Pages a copy call: 16 MiB, some milliseconds, after which timers and signals of this process get their turn. */
const stepPages = 4096

export interface FlattenOptions {
  readonly signal?: AbortSignal | undefined
  /** Data pages copied so far, of all that are to be copied. */
  readonly onProgress?: (copiedPages: number, totalPages: number) => void
}

export interface FlattenResult {
  readonly path: string
  readonly pages: number
  /** Pages with data in the file; the rest are holes. */
  readonly dataPages: number
  /** How the data was copied: by the kernel (which shares blocks where the file system can), or read and written. */
  readonly method: 'copy_file_range' | 'read-write'
}

/**
 * Writes an image as one flat, sparse memory file that Firecracker's File backend takes: page p at p × 4096, zero runs
 * as holes. A new file (0600), whole or not there at all; the layers are only read.
 */
export async function flatten(
  image: Image,
  outPath: string,
  { signal, onProgress }: FlattenOptions = {},
): Promise<FlattenResult> {
  throwIfAborted(signal, outPath)
  const { map } = image
  await using files = await openImageLayers(image)
  let totalPages = 0
  for (let i = 0; i < map.starts.length; i++)
    if (map.sources[i] !== zeroSource) totalPages += map.counts[i] as number
  // Awaited here: the layer files close when this function returns.
  return await publishFile(outPath, async (out) => {
    await out.truncate(map.pages * pageSizeBytes)
    const copier = new Copier(out)
    let copied = 0
    for (let i = 0; i < map.starts.length; i++) {
      const source = map.sources[i] as number
      if (source === zeroSource) continue
      const count = map.counts[i] as number
      for (let offset = 0; offset < count; offset += stepPages) {
        throwIfAborted(signal, outPath)
        const pages = Math.min(stepPages, count - offset)
        await copier.copy(
          files.layer(source),
          (map.sourcePages[i] as number) + offset,
          (map.starts[i] as number) + offset,
          pages,
        )
        copied += pages
        onProgress?.(copied, totalPages)
      }
    }
    return { path: outPath, pages: map.pages, dataPages: copied, method: copier.method }
  })
}

class Copier {
  method: FlattenResult['method'] = 'copy_file_range'
  private readonly out: FileHandle
  private buffer: Buffer | undefined
  private readonly takeTurns = turnTaker()

  constructor(out: FileHandle) {
    this.out = out
  }

  async copy(from: MemoryFile, fromPage: number, toPage: number, pages: number): Promise<void> {
    if (this.method === 'copy_file_range') {
      const length = pages * pageSizeBytes
      const copied = copyFileRange(
        from.handle.fd,
        fromPage * pageSizeBytes,
        this.out.fd,
        toPage * pageSizeBytes,
        length,
      )
      if (copied === length) return await this.takeTurns(pages)
      if (copied !== undefined)
        throw new VarveError(
          'IMAGE_MISMATCH',
          `memory file ${from.path} ends at byte ${fromPage * pageSizeBytes + copied}, within its ${from.pages} pages`,
        )
      this.method = 'read-write'
    }
    await this.readAndWrite(from, fromPage, toPage, pages)
  }

  private async readAndWrite(
    from: MemoryFile,
    fromPage: number,
    toPage: number,
    pages: number,
  ): Promise<void> {
    this.buffer ??= Buffer.allocUnsafe(stepPages * pageSizeBytes)
    const part = this.buffer.subarray(0, pages * pageSizeBytes)
    await readPages(from, fromPage, part)
    for (let done = 0; done < part.length; ) {
      const offset = toPage * pageSizeBytes + done
      done += writeSync(this.out.fd, part, done, part.length - done, offset)
    }
    await this.takeTurns(pages)
  }
}
