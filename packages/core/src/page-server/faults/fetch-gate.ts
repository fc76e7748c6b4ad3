/** Places in the shared words. */
const reading = 0
const copying = 1
const over = 2
const words = 3

export type SharedWords = Int32Array<SharedArrayBuffer>

/**
 * Keeps two threads of one VM's server apart: the one that reads events from the userfaultfd, and the one
 * that installs a working set. Once a removal event was read, the kernel admits copies again, even one that
 * began before: old content would come back into memory that the guest gave away. So no copy may be under way
 * when events are read, and each copy must know of all removals that were read.
 * docs/notes/userfaultfd-events.md has the order of the steps.
 *
 * The reader comes first: while it reads, or wants to, no copy begins. It waits for one call of the copier,
 * so this call must be short and must not read from a disk.
 */
export class FetchGate {
  readonly #words: SharedWords

  /** `shared`: the memory of another thread's gate; without it a new gate is made. */
  constructor(shared: SharedWords = new Int32Array(new SharedArrayBuffer(words * 4))) {
    this.#words = shared
  }

  /** The memory from which the other thread makes its own gate. */
  get shared(): SharedWords {
    return this.#words
  }

  /** Called by the reader before it reads; resolves at once if nothing is fetched any more. */
  beginReading(): void {
    if (Atomics.load(this.#words, over) !== 0) return
    Atomics.store(this.#words, reading, 1)
    while (Atomics.load(this.#words, copying) !== 0) Atomics.wait(this.#words, copying, 1)
  }

  /** Called by the reader when it has noted all removals that it read. */
  endReading(): void {
    if (Atomics.load(this.#words, reading) === 0) return
    Atomics.store(this.#words, reading, 0)
    Atomics.notify(this.#words, reading)
  }

  /** Called by the copier before it checks whether it may copy. */
  beginCopy(): void {
    for (;;) {
      Atomics.store(this.#words, copying, 1)
      // Each side announces itself before it looks at the other: one of them sees the other, whatever their
      // order.
      if (Atomics.load(this.#words, reading) === 0) return
      this.endCopy()
      Atomics.wait(this.#words, reading, 1)
    }
  }

  endCopy(): void {
    Atomics.store(this.#words, copying, 0)
    Atomics.notify(this.#words, copying)
  }

  /** Called if nothing is copied any more, or the copier's thread has ended at any step. */
  close(): void {
    Atomics.store(this.#words, over, 1)
    this.endCopy()
  }
}
