import { emptyBitmap, type PageBitmap } from '../../memory/page-bitmap.js'
import { UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from '../../sys/abi.js'

/**
 * Faults whose order is kept: 4 GiB of single pages, 8 MiB of memory. The sets of pages have no such limit.
 */
export const maxRecordedFaults = 1024 * 1024
const maxTimeUs = 2 ** 32 - 1

/** One period of a recording, as plain data that can go to another thread. */
export interface RecordedFaults {
  /**
   * Faults on missing pages in their order: the page, and when it was read, µs since
   * the begin (71 minutes at most).
   */
  readonly pages: Uint32Array
  readonly timesUs: Uint32Array
  /** There were more faults than `maxRecordedFaults`: those are in the sets only. */
  readonly truncated: boolean
  /** Every page that was missing when it was touched. */
  readonly touched: PageBitmap
  /** Every page that was there and protected when it was written. Null if writes are not recorded. */
  readonly written: PageBitmap | null
  /**
   * Every page that was missing when it was to be written, so the kernel says. KVM says that of reads too,
   * if it fetches pages asynchronously (docs/notes/write-protection.md): only the content of the page tells.
   * Of a huge page that was written, present or missing, all pages are here. Null as above.
   */
  readonly wanted: PageBitmap | null
  /** Pages that come together: more than one if the guest's memory is huge pages. */
  readonly unitPages: number
  readonly windowUs: number
}

/** What the fault loop notes of one period. Everything is allocated at its begin. */
export class FaultRecord {
  readonly writes: boolean
  /** Pages that come together, and are noted together. */
  readonly #unitPages: number
  readonly #begin = performance.now()
  readonly #pages = new Uint32Array(maxRecordedFaults)
  readonly #timesUs = new Uint32Array(maxRecordedFaults)
  readonly #touched: PageBitmap
  readonly #written: PageBitmap
  readonly #wanted: PageBitmap
  #count = 0
  #truncated = false

  constructor(imagePages: number, writes: boolean, unitPages = 1) {
    this.writes = writes
    this.#unitPages = unitPages
    this.#touched = emptyBitmap(0, imagePages)
    this.#written = emptyBitmap(0, writes ? imagePages : 0)
    this.#wanted = emptyBitmap(0, writes ? imagePages : 0)
  }

  /** `flags` as in struct uffd_msg. */
  note(page: number, flags: number): void {
    for (let it = page; it < page + this.#unitPages; it++) this.#note(it, flags)
  }

  #note(page: number, flags: number): void {
    if ((flags & UFFD_PAGEFAULT_FLAG_WP) !== 0) {
      // Of a huge page, only the content tells which of its pages were written.
      if (this.writes) setBit(this.#unitPages === 1 ? this.#written : this.#wanted, page)
      return
    }
    setBit(this.#touched, page)
    if (this.writes && (flags & UFFD_PAGEFAULT_FLAG_WRITE) !== 0) setBit(this.#wanted, page)
    if (this.#count < maxRecordedFaults) {
      this.#pages[this.#count] = page
      this.#timesUs[this.#count++] = Math.min(this.#sinceBeginUs(), maxTimeUs)
    } else this.#truncated = true
  }

  /** What was noted so far, copied. */
  copy(): RecordedFaults {
    const copied = ({ first, words }: PageBitmap) => ({ first, words: words.slice() })
    return {
      pages: this.#pages.slice(0, this.#count),
      timesUs: this.#timesUs.slice(0, this.#count),
      truncated: this.#truncated,
      touched: copied(this.#touched),
      written: this.writes ? copied(this.#written) : null,
      wanted: this.writes ? copied(this.#wanted) : null,
      unitPages: this.#unitPages,
      windowUs: this.#sinceBeginUs(),
    }
  }

  #sinceBeginUs(): number {
    return Math.floor((performance.now() - this.#begin) * 1000)
  }
}

function setBit({ words }: PageBitmap, page: number): void {
  words[page >>> 5] = (words[page >>> 5] as number) | (1 << (page & 31))
}
