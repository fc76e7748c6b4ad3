import type { Descriptor } from 'varve'

/** What a push or pull has moved. */
export interface Moved {
  /** Blobs that were sent. */
  readonly sentBlobs: number
  /** Their bytes. */
  readonly sentBytes: number
  /** Blobs that were there already. */
  readonly presentBlobs: number
  /** Their bytes. */
  readonly presentBytes: number
}

const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

/** Counts what is moved, and says so twice a second. */
export class Progress {
  readonly #totalBytes: number
  readonly #onProgress: ((message: string) => void) | undefined
  readonly #verb: string
  #doneBytes = 0
  #saidAt = 0
  #sent = { blobs: 0, bytes: 0 }
  #present = { blobs: 0, bytes: 0 }

  constructor(
    verb: string,
    blobs: readonly Pick<Descriptor, 'size'>[],
    onProgress: ((message: string) => void) | undefined,
  ) {
    this.#verb = verb
    this.#totalBytes = blobs.reduce((sum, { size }) => sum + size, 0)
    this.#onProgress = onProgress
  }

  /** Bytes that were moved, or will be moved again if negative. */
  readonly add = (bytes: number): void => {
    this.#doneBytes += bytes
    const now = performance.now()
    if (now - this.#saidAt < 500) return
    this.#saidAt = now
    this.#onProgress?.(`${mib(this.#doneBytes)} of ${mib(this.#totalBytes)} MiB ${this.#verb}`)
  }

  /** A blob is done: it was sent, or it was there. */
  settle(size: number, sent: boolean): void {
    const kind = sent ? this.#sent : this.#present
    kind.blobs++
    kind.bytes += size
    if (!sent) this.add(size)
  }

  get moved(): Moved {
    return {
      sentBlobs: this.#sent.blobs,
      sentBytes: this.#sent.bytes,
      presentBlobs: this.#present.blobs,
      presentBytes: this.#present.bytes,
    }
  }
}
