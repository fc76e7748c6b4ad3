import { syncFile, type WritableFile } from '../sys/mutations.js'

/** 64 MiB: what a disk writes while the next 64 MiB are copied. */
const pagesPerSync = 16_384

/**
 * Syncs a file now and then while it is being written, in the background, one sync at a time: the disk works
 * while this thread copies, and the sync at the end finds little left to do.
 */
export class EarlySync implements AsyncDisposable {
  readonly #file: WritableFile
  #since = 0
  #running: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(file: WritableFile) {
    this.#file = file
  }

  /** Tells that pages were written. Throws what an earlier sync failed with. */
  wrote(pages: number): void {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#since += pages
    if (this.#since < pagesPerSync || this.#running !== undefined) return
    this.#since = 0
    this.#running = syncFile(this.#file).then(
      () => {
        this.#running = undefined
      },
      (error: unknown) => {
        this.#failure = { error }
      },
    )
  }

  /**
   * Waits for a sync that is running, and throws what one failed with: fsync(2) tells of a failed write once,
   * and the next sync would not know of it.
   */
  async finish(): Promise<void> {
    await this.#running
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Waits for a sync that is running: the file must not be closed under it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running
  }
}
