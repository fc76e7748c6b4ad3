/**
 * 0.1 ms: a wake-up of another CPU takes 20 to 60 µs on the virtual machines measured, and the VMM needs one
 * of its own before it can fault again (docs/notes/page-server-throughput.md).
 */
export const spinMs = 0.1
/** How often the load of the machine is looked at, which takes some 3 µs. */
const lookMs = 4

/**
 * Whether the fault thread looks for the next fault without sleeping: a thread that sleeps must be woken,
 * which costs more than the fault. Only for `spinMs` after each answer; only if the fault before came that
 * soon, so that a server whose VMs ask for nothing sleeps; and only while the machine has a CPU for it:
 * neither if the thread has one CPU, which the guest may need in order to fault at all, nor if more
 * threads want to run than there are CPUs.
 */
export class Spin {
  readonly #cpus: Int32Array
  readonly #runnable: () => number
  readonly #now: () => number
  #answeredAt = Number.NEGATIVE_INFINITY
  #soon = false
  #lookedAt = Number.NEGATIVE_INFINITY
  #busy = false

  /** `cpus[0]`: how many CPUs the thread may use, at any time. */
  constructor(cpus: Int32Array, runnable: () => number, now: () => number) {
    this.#cpus = cpus
    this.#runnable = runnable
    this.#now = now
  }

  /** A fault is there. */
  asked(): void {
    this.#soon = this.#now() - this.#answeredAt < spinMs
  }

  /** It was answered. */
  answered(): void {
    this.#answeredAt = this.#now()
  }

  /** Whether to look once more, and not to sleep yet. */
  goesOn(): boolean {
    if (!this.#soon) return false
    const now = this.#now()
    if (now - this.#answeredAt >= spinMs) return false
    const cpus = Atomics.load(this.#cpus, 0)
    if (cpus < 2) return false
    if (now - this.#lookedAt >= lookMs) {
      this.#lookedAt = now
      this.#busy = this.#runnable() > cpus
    }
    return !this.#busy
  }
}
