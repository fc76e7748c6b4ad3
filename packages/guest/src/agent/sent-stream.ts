import { maxCredit, maxDataBytes } from './bounds.js'
import { broken } from './fields.js'

/** The stream to the guest: standard input, the content of a file, the input of a function. */
export class SentStream {
  readonly #send: (data: Uint8Array) => boolean
  readonly #sendEnd: () => void
  #credit = 0
  #hasRoom = true
  #closed: 'by us' | 'by the guest' | undefined
  #failure: unknown
  readonly #waiting = new Set<() => void>()
  #last: Promise<void> = Promise.resolve()

  /** `send` says whether the connection has room for more; if not, `drained` is called once it has. */
  constructor(send: (data: Uint8Array) => boolean, sendEnd: () => void) {
    this.#send = send
    this.#sendEnd = sendEnd
  }

  /** Whether the guest reads no more. What is written then is dropped. */
  get isRefused(): boolean {
    return this.#closed === 'by the guest'
  }

  /**
   * Sends bytes as the guest has room for them; resolves when all have been sent, or if the guest reads no
   * more. Writes follow each other in the order of their calls.
   */
  write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    const written = this.#last.then(() => this.#write(bytes))
    this.#last = written.catch(() => {})
    return written
  }

  /** Ends the stream behind what has been written. */
  async end(): Promise<void> {
    await this.#last
    if (this.#closed !== undefined || this.#failure !== undefined) return
    this.#closed = 'by us'
    this.#sendEnd()
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#closed !== undefined) return
      // Credit alone is no bound: a guest may give it without reading what comes.
      const count = this.#hasRoom ? Math.min(bytes.length - at, this.#credit, maxDataBytes) : 0
      if (count === 0) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve))
        continue
      }
      this.#credit -= count
      this.#hasRoom = this.#send(bytes.subarray(at, at + count))
      at += count
    }
  }

  addCredit(bytes: number): void {
    if (bytes > maxCredit - this.#credit) throw broken('more credit than the protocol allows')
    this.#credit += bytes
    this.#wake()
  }

  drained(): void {
    this.#hasRoom = true
    this.#wake()
  }

  refused(): void {
    this.#closed ??= 'by the guest'
    this.#wake()
  }

  fail(error: unknown): void {
    this.#failure = error
    this.#wake()
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }
}
