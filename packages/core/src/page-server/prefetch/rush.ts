import { availableParallelism } from 'node:os'

/** One word of shared memory: 1 while a rush is on. */
export type RushWord = Int32Array<SharedArrayBuffer>

/** No VM has come for so long: the rush is over. */
const quietMs = 40
/** A rush lasts no longer; then sets have at least as long until the next one. */
const mostMs = 250
/** How soon a thread that waits notices that its VM has ended, or gives memory back. */
const lookMs = 5

/**
 * Whether more VMs are being loaded than there are CPUs. All that takes CPU time then puts off some VM's
 * first answer, so no working set is planned or copied until the rush is over
 * (docs/results/faults.md#in-a-real-vm).
 */
export class Rush {
  readonly #cpus: number
  readonly #now: () => number
  readonly #word: RushWord = new Int32Array(new SharedArrayBuffer(4))
  #expected = 0
  readonly #joined = new Set<number>()
  #quiet: NodeJS.Timeout | undefined
  #begunAt = 0
  #notBefore = 0

  constructor({ cpus = availableParallelism(), now = () => performance.now() } = {}) {
    this.#cpus = cpus
    this.#now = now
  }

  /** For the threads that fetch ahead. */
  get shared(): RushWord {
    return this.#word
  }

  /** A restore looks for the server while it launches its VMM. */
  expect(): void {
    this.#expected++
    this.#grow()
  }

  /** The server takes a VM on, or has its memory now: to be called at both times. */
  join(vm: number): void {
    this.#joined.add(vm)
    this.#grow()
  }

  #grow(): void {
    clearTimeout(this.#quiet)
    const now = this.#now()
    const isOn = this.#word[0] === 1
    // A VM that was expected joins later: it counts once.
    const crowd = Math.max(this.#expected, this.#joined.size)
    if (!isOn && crowd > this.#cpus && now >= this.#notBefore) {
      this.#begunAt = now
      Atomics.store(this.#word, 0, 1)
    }
    const left = isOn ? this.#begunAt + mostMs - now : quietMs
    this.#quiet = setTimeout(() => this.#end(), Math.min(quietMs, left)).unref()
  }

  #end(): void {
    this.#expected = 0
    this.#joined.clear()
    if (this.#word[0] === 0) return
    const now = this.#now()
    if (now - this.#begunAt >= mostMs) this.#notBefore = now + mostMs
    Atomics.store(this.#word, 0, 0)
    Atomics.notify(this.#word, 0)
  }
}

/** For a thread that fetches ahead: sleeps while a rush is on, unless it is `halted`. */
export function waitOutRush(word: RushWord, halted: () => boolean): void {
  while (Atomics.load(word, 0) === 1 && !halted()) Atomics.wait(word, 0, 1, lookMs)
}
