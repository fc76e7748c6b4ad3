/** Where removed pages are kept for a server that takes over. */
export interface RemovalLog {
  /** Removals may be known to the guest that are not noted yet; or all are noted. */
  underWay(is: boolean): void
  /** `bits` changed between two of its bytes. Called before anything else is answered. */
  keep(bits: Uint8Array, firstByte: number, endByte: number): void
}

const noLog: RemovalLog = { underWay: () => {}, keep: () => {} }

/**
 * The pages of an image that the guest gave back (balloon): they read as zero from then on, whatever the
 * layers hold. One bit a page, made at the first removal.
 */
export class RemovedPages {
  readonly #pages: number
  readonly #log: RemovalLog
  #bits: Uint8Array | undefined
  #underWay = false

  /** `known` is what was kept before. */
  constructor(pages: number, log: RemovalLog = noLog, known?: Uint8Array) {
    this.#pages = pages
    this.#log = log
    if (known !== undefined) {
      this.#bits = new Uint8Array(Math.ceil(pages / 8))
      this.#bits.set(known)
    }
  }

  get any(): boolean {
    return this.#bits !== undefined
  }

  has(page: number): boolean {
    return this.#bits !== undefined && ((this.#bits[page >>> 3] as number) & (1 << (page & 7))) !== 0
  }

  /** The first page from `page` on that was not removed, `most` at most. */
  endOfRun(page: number, most: number): number {
    let end = page
    while (end < most && this.has(end)) end++
    return end
  }

  /** To be called before a removal is read: from then on the guest may rely on it. */
  expect(): void {
    if (!this.#underWay) this.#log.underWay(true)
    this.#underWay = true
  }

  add(first: number, count: number): void {
    this.#bits ??= new Uint8Array(Math.ceil(this.#pages / 8))
    const bits = this.#bits
    for (let page = first; page < first + count; page++)
      bits[page >>> 3] = (bits[page >>> 3] as number) | (1 << (page & 7))
    this.#log.keep(bits, first >>> 3, ((first + count - 1) >>> 3) + 1)
  }

  /** All that was read is noted. */
  settle(): void {
    if (this.#underWay) this.#log.underWay(false)
    this.#underWay = false
  }
}
