import { crc32 } from 'node:zlib'
import { pageSizeBytes } from '../memory/units.js'
import { chunkPages } from './layer-footer.js'

const chunkBytes = chunkPages * pageSizeBytes

/** CRC-32 of each 2 MiB of data pages, fed in file order. */
export class ChunkChecksums {
  readonly #finished: number[] = []
  #crc = 0
  #filled = 0

  /** Whole pages. */
  add(pages: Uint8Array): void {
    for (let done = 0; done < pages.length; ) {
      const part = pages.subarray(done, done + chunkBytes - this.#filled)
      this.#crc = crc32(part, this.#crc)
      this.#filled += part.length
      done += part.length
      if (this.#filled === chunkBytes) this.#close()
    }
  }

  #close(): void {
    this.#finished.push(this.#crc)
    this.#crc = 0
    this.#filled = 0
  }

  finish(): Uint32Array {
    if (this.#filled > 0) this.#close()
    return Uint32Array.from(this.#finished)
  }
}
