import { pageSizeBytes } from '../memory/units.js'
import { type WritableFile, writeAt } from '../sys/mutations.js'
import { type MemoryFile, readPages } from './memory-file.js'

/**
 * 1 MiB: long enough that calls cost nothing next to copying, short enough for the CPU's second-level cache.
 */
const bufferPages = 256

/** Reads pieces of other files and writes those that are neighbours in the new file with one call. */
export class CoalescingWriter {
  readonly #out: WritableFile
  #buffer: Buffer | undefined
  /** Where in the new file the buffer's content goes, and how many pages of it are filled. */
  #page = 0
  #filled = 0

  constructor(out: WritableFile) {
    this.#out = out
  }

  async copy(from: MemoryFile, fromPage: number, page: number, count: number): Promise<void> {
    this.#buffer ??= Buffer.allocUnsafe(bufferPages * pageSizeBytes)
    for (let done = 0; done < count; ) {
      if (this.#filled === bufferPages || page + done !== this.#page + this.#filled) this.flush()
      if (this.#filled === 0) this.#page = page + done
      const pages = Math.min(count - done, bufferPages - this.#filled)
      const part = this.#buffer.subarray(this.#filled * pageSizeBytes, (this.#filled + pages) * pageSizeBytes)
      await readPages(from, fromPage + done, part)
      this.#filled += pages
      done += pages
    }
  }

  flush(): void {
    if (this.#buffer !== undefined && this.#filled > 0)
      writeAt(this.#out, this.#buffer.subarray(0, this.#filled * pageSizeBytes), this.#page * pageSizeBytes)
    this.#filled = 0
  }
}
