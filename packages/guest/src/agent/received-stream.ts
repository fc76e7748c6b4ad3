import { windowBytes } from './bounds.js'
import { broken } from './fields.js'

/**
 * Data is joined into pieces of these sizes, and a new piece is made when the last one is full: what is
 * kept is never much more than what came, in however small frames.
 */
const pieceBytes = 64 * 1024
const smallPieceBytes = 4 * 1024

/**
 * A stream from the guest. The guest may send `windowBytes` more than have been read: a slow reader stops
 * the guest, and costs no more memory than that. Can be read once.
 */
export class ReceivedStream implements AsyncIterable<Buffer> {
  readonly #giveCredit: (bytes: number) => void
  readonly #refuse: () => void
  #pieces: Buffer[] = []
  /** Bytes of the last piece that are in use. */
  #lastHas = 0
  #granted = 0
  #freed = 0
  #kept = 0
  #ended = false
  #refused = false
  #failure: unknown
  #wake: (() => void) | undefined

  /** `giveCredit` sends CREDIT; `refuse` tells the guest that no more is wanted. */
  constructor(giveCredit: (bytes: number) => void, refuse: () => void) {
    this.#giveCredit = giveCredit
    this.#refuse = refuse
  }

  /** Lets the guest begin. */
  start(): void {
    this.#granted = windowBytes
    this.#giveCredit(windowBytes)
  }

  /** Bytes that are kept because no reader has taken them. */
  get keptBytes(): number {
    return this.#kept
  }

  push(data: Buffer): void {
    if (this.#ended) throw broken('data after the end of its stream')
    if (data.length === 0 || data.length > this.#granted)
      throw broken('more data than it was given credit for')
    this.#granted -= data.length
    if (this.#refused) return
    this.#kept += data.length
    for (let at = 0; at < data.length; ) {
      let last = this.#pieces.at(-1)
      if (last === undefined || this.#lastHas === last.length) {
        last = Buffer.allocUnsafe(data.length - at < smallPieceBytes ? smallPieceBytes : pieceBytes)
        this.#pieces.push(last)
        this.#lastHas = 0
      }
      const copied = data.copy(last, this.#lastHas, at)
      this.#lastHas += copied
      at += copied
    }
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  fail(error: unknown): void {
    if (this.#ended) return
    this.#failure = error
    this.#ended = true
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Buffer> {
    try {
      for (;;) {
        const piece = this.#take()
        if (piece !== undefined) {
          yield piece
          // The reader comes back for more: it has no need of this piece any longer.
          this.#free(piece.length)
        } else if (this.#failure !== undefined) throw this.#failure
        else if (this.#ended) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
        this.#wake = undefined
      }
    } finally {
      if (!this.#ended) this.#refuse()
      this.#refused = true
      this.#pieces = []
      this.#kept = 0
    }
  }

  #take(): Buffer | undefined {
    const piece = this.#pieces.shift()
    if (piece === undefined) return undefined
    const bytes = this.#pieces.length === 0 ? piece.subarray(0, this.#lastHas) : piece
    this.#kept -= bytes.length
    return bytes
  }

  #free(bytes: number): void {
    this.#freed += bytes
    if (this.#ended || this.#freed < windowBytes / 2) return
    this.#granted += this.#freed
    this.#giveCredit(this.#freed)
    this.#freed = 0
  }
}
