import { VarveError } from '../../errors.js'

/**
 * Faults that wait for a REMOVE event to be read. Each is a sleeping thread of the VMM, so there are never
 * many.
 */
const maxDeferred = 4096

/**
 * Faults that must be tried again, each an address with the flags of its fault in the bits below the page.
 */
export class DeferredFaults {
  readonly #faults = new Float64Array(maxDeferred)
  #count = 0

  get count(): number {
    return this.#count
  }

  add(fault: number): void {
    if (this.#count === maxDeferred)
      throw new VarveError(
        'PAGE_SERVER_PROTOCOL',
        `more than ${maxDeferred} faults wait behind an unread event`,
      )
    this.#faults[this.#count++] = fault
  }

  /** Calls `answer` with each; `answer` may add it again. */
  retry(answer: (fault: number) => void): void {
    const count = this.#count
    this.#count = 0
    for (let index = 0; index < count; index++) {
      // Adding again writes at or before `index`: what is still to be read is not overwritten.
      answer(this.#faults[index] as number)
    }
  }
}
