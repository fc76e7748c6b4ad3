/**
 * Seven words an entry: the number of a system call and its six arguments. The
 * result comes back in the first.
 */
const entryWords = 7
export const entryBytes = entryWords * 8

const word = 2 ** 32

/** One entry as values, for those who look at a table. */
interface SyscallEntry {
  readonly number: number
  readonly args: readonly number[]
}

/**
 * System calls in a row, for another process to make. Numbers are whole and at most 2^53, -1 or -errno apart;
 * they are kept as halves, because a BigInt for each of some 30,000 words would cost more than the calls.
 */
export class SyscallTable {
  #halves = new Uint32Array(256 * entryWords * 2)
  /** Kept apart, as results overwrite them. */
  #numbers = new Uint16Array(256)
  #length = 0

  get length(): number {
    return this.#length
  }

  add(number: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): void {
    let at = this.#length * entryWords * 2
    if (at === this.#halves.length) {
      const halves = new Uint32Array(this.#halves.length * 2)
      const numbers = new Uint16Array(this.#numbers.length * 2)
      halves.set(this.#halves)
      numbers.set(this.#numbers)
      this.#halves = halves
      this.#numbers = numbers
    }
    this.#numbers[this.#length] = number
    at = this.#put(at, number)
    at = this.#put(at, a)
    at = this.#put(at, b)
    at = this.#put(at, c)
    at = this.#put(at, d)
    at = this.#put(at, e)
    this.#put(at, f)
    this.#length++
  }

  #put(at: number, value: number): number {
    this.#halves[at] = value
    this.#halves[at + 1] = Math.floor(value / word)
    return at + 2
  }

  number(index: number): number {
    return this.#numbers[index] as number
  }

  /** Its first argument. */
  first(index: number): number {
    return this.#word((index * entryWords + 1) * 2)
  }

  entry(index: number): SyscallEntry {
    const at = (index * entryWords + 1) * 2
    const args = Array.from({ length: entryWords - 1 }, (_, i) => this.#word(at + 2 * i))
    return { number: this.number(index), args }
  }

  entries(): SyscallEntry[] {
    return Array.from({ length: this.#length }, (_, index) => this.entry(index))
  }

  /** Of an entry that was made: as the kernel returned it, -errno if it failed. */
  result(index: number): number {
    return this.#word(index * entryWords * 2)
  }

  #word(at: number): number {
    return ((this.#halves[at + 1] as number) | 0) * word + (this.#halves[at] as number)
  }

  /** The bytes of entries `from` to `to`, not a copy: what is written there becomes their results. */
  bytes(from: number, to: number): Uint8Array {
    const { buffer, byteOffset } = this.#halves
    return new Uint8Array(buffer, byteOffset + from * entryBytes, (to - from) * entryBytes)
  }
}
