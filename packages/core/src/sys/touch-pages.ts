import { closeSync, openSync } from 'node:fs'
import { declareAsync } from './libc.js'

// Safe: `vectors` has `count` struct iovec, which `PageToucher` keeps until the call returns, as their owner
// keeps the memory that they name. It runs in a thread of libuv's pool.
const preadv = declareAsync<[number, Uint32Array, number, number], number | bigint>(
  'int64_t preadv(int fd, uint32_t *vectors, int count, int64_t offset)',
)

const word = 2 ** 32
/** struct iovec: an address and a length, 64 bits each. */
const vectorWords = 4

/**
 * Writes a zero to the first byte of pages of this process, one page after the other, in another thread: each
 * page that a userfaultfd of this process has registered as missing is a fault, which the caller must see
 * answered. Closing the userfaultfd lets the thread go on as well.
 */
export class PageToucher implements Disposable {
  readonly #zeros = openSync('/dev/zero', 'r')
  readonly #vectors: Uint32Array

  constructor(mostPages: number) {
    this.#vectors = new Uint32Array(mostPages * vectorWords)
  }

  /** `count` pages, each `strideBytes` from the last. One call at a time. */
  async touch(address: number, count: number, strideBytes: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const at = address + index * strideBytes
      this.#vectors[index * vectorWords] = at % word
      this.#vectors[index * vectorWords + 1] = Math.floor(at / word)
      this.#vectors[index * vectorWords + 2] = 1
    }
    // What was not touched does not matter: nothing depends on it.
    await preadv(this.#zeros, this.#vectors, count, 0)
  }

  /** Not while a call is under way. */
  [Symbol.dispose](): void {
    closeSync(this.#zeros)
  }
}
