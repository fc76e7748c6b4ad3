import { VarveError } from 'varve'

/** Reads a stream of chunks in the pieces that a format has. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)
  #ended = false
  #position = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Bytes that were read so far. */
  get position(): number {
    return this.#position
  }

  /** Exactly so many bytes; fewer only at the end of the stream. For lengths that were bounded before. */
  async read(length: number): Promise<Buffer> {
    if (this.#rest.length >= length) return this.#take(length)
    const parts: Buffer[] = []
    let missing = length
    while (missing > 0 && (await this.#fill())) {
      const part = this.#take(missing)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }

  /** The next `length` bytes, as they come; FORMAT_INVALID if the stream ends before. */
  async *pieces(length: number): AsyncGenerator<Buffer> {
    for (let missing = length; missing > 0; ) {
      if (!(await this.#fill()))
        throw new VarveError('FORMAT_INVALID', `the archive ends at byte ${this.#position}, within an entry`)
      const piece = this.#take(missing)
      missing -= piece.length
      yield piece
    }
  }

  async skip(length: number): Promise<void> {
    for await (const _ of this.pieces(length));
  }

  /** Reads what is left, so that checksums of the whole stream can be compared. */
  async drain(): Promise<void> {
    while (await this.#fill()) this.#take(this.#rest.length)
  }

  async #fill(): Promise<boolean> {
    while (this.#rest.length === 0 && !this.#ended) {
      const { value, done } = await this.#chunks.next()
      if (done === true) this.#ended = true
      else this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    return this.#rest.length > 0
  }

  #take(length: number): Buffer {
    const piece = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(piece.length)
    this.#position += piece.length
    return piece
  }
}
