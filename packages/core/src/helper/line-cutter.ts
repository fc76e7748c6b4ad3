import { VarveError } from '../errors.js'

/**
 * Cuts a stream of text into lines, of which each is one JSON value. Helpers and their callers talk in such
 * lines, over pipes and Unix sockets.
 */
export class LineCutter {
  readonly #maxLength: number
  readonly #parts: string[] = []
  #length = 0

  /** `maxLength`: of one line, in UTF-16 code units. */
  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  /**
   * The lines that end in `text`, without their line feeds. FORMAT_INVALID if a line is longer than allowed.
   */
  cut(text: string): string[] {
    const lines: string[] = []
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#keep(text.slice(start, end))
      lines.push(this.#parts.join(''))
      this.#parts.length = 0
      this.#length = 0
      start = end + 1
    }
    if (start < text.length) this.#keep(text.slice(start))
    return lines
  }

  #keep(part: string): void {
    this.#length += part.length
    if (this.#length > this.#maxLength)
      throw new VarveError('FORMAT_INVALID', `a line of more than ${this.#maxLength} characters`)
    this.#parts.push(part)
  }
}
