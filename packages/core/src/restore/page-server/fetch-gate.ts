/** Places in the shared words. */
const reading = 0
const copying = 1
const over = 2
const words = 3

export type SharedWords = Int32Array<SharedArrayBuffer>

/**
 * Keeps two threads of one VM's server apart: the one that reads events from the userfaultfd, and the one that installs a working
 * set. From the moment at which a removal is read, nothing in the kernel holds a copy back any more, not even one that began before:
 * old content would come back into memory that the guest gave away. So no copy may be under way when events are read, and each
 * copy must know of all removals that were read. docs/notes/userfaultfd-events.md has the order of the steps.
 *
 * The reader comes first: while it reads, or wants to, no copy begins. It waits for one call of the copier, which must
 * therefore be short and read from no disk.
 */
export class FetchGate {
  readonly #words: SharedWords

  /** Of another thread's gate, or a new one. */
  constructor(shared: SharedWords = new Int32Array(new SharedArrayBuffer(words * 4))) {
    this.#words = shared
  }

  /** What the other thread makes its own gate from. */
  get shared(): SharedWords {
    return this.#words
  }

  /** By the reader, before it reads; resolved at once where nothing is to be fetched any more. */
  beginReading(): void {
    if (Atomics.load(this.#words, over) !== 0) return
    Atomics.store(this.#words, reading, 1)
    while (Atomics.load(this.#words, copying) !== 0) Atomics.wait(this.#words, copying, 1)
  }

  /** When what was read of removals is noted where the copier looks for it. */
  endReading(): void {
    if (Atomics.load(this.#words, reading) === 0) return
    Atomics.store(this.#words, reading, 0)
    Atomics.notify(this.#words, reading)
  }

  /** By the copier, before it looks whether it may copy. */
  beginCopy(): void {
    for (;;) {
      Atomics.store(this.#words, copying, 1)
      // Each side announces itself before it looks at the other: one of them sees the other, whatever their order.
      if (Atomics.load(this.#words, reading) === 0) return
      this.endCopy()
      Atomics.wait(this.#words, reading, 1)
    }
  }

  endCopy(): void {
    Atomics.store(this.#words, copying, 0)
    Atomics.notify(this.#words, copying)
  }

  /** Nothing is copied any more, or the thread that did has ended, wherever it was. */
  close(): void {
    Atomics.store(this.#words, over, 1)
    this.endCopy()
  }
}
