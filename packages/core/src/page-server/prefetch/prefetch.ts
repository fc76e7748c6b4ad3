import { counterNames } from '../faults/fault-counters.js'
import { FetchGate, type SharedWords } from '../faults/fetch-gate.js'
import { calledOff, type PrefetchCounterName, prefetchCounterNames } from './prefetch-loop.js'
import type { PrefetchPool, PrefetchThread } from './prefetch-pool.js'
import type { PrefetchEnd, PrefetchOrder, PrefetchTask } from './prefetch-worker.js'

/** What fetching ahead did, or does. */
export interface ServedPrefetch extends Readonly<Record<PrefetchCounterName, number>> {
  /**
   * `waiting` for the VM's memory; `running`; `finished`; `halted` because the guest gave memory back;
   * `failed`: `failure` says why. Whatever it is, a page that was not fetched comes when it is asked for.
   */
  readonly state: 'waiting' | 'running' | 'finished' | 'halted' | 'failed'
  /** Why it failed; null if it did not. */
  readonly failure: string | null
  /** From the handshake on; null while it goes on. */
  readonly ms: number | null
  /** Layers that were not in the page cache and were read past it; null while it goes on. */
  readonly directLayers: number | null
}

/** One VM's working set, installed by a thread while another one answers faults. */
export class Prefetch {
  readonly #counters = new Float64Array(new SharedArrayBuffer(prefetchCounterNames.length * 8))
  readonly #halt = new Int32Array(new SharedArrayBuffer(8))
  readonly #gate = new FetchGate()
  readonly #thread: PrefetchThread
  #state: ServedPrefetch['state'] = 'waiting'
  #end: PrefetchEnd | undefined
  #ordered = false
  #callOff: (end: PrefetchEnd) => void = () => {}
  readonly #calledOff = new Promise<PrefetchEnd>((resolve) => {
    this.#callOff = resolve
  })
  /** Resolves once there is nothing more to come: the thread does not touch the VM's memory any more. */
  readonly ended: Promise<void>

  constructor(pool: PrefetchPool, task: Omit<PrefetchTask, 'counters' | 'halt' | 'removedPages' | 'gate'>) {
    const removedPages = counterNames.indexOf('removedPages')
    const shared = { counters: this.#counters, halt: this.#halt, gate: this.#gate.shared }
    this.#thread = pool.take({ ...task, ...shared, removedPages })
    this.ended = Promise.race([this.#thread.end, this.#calledOff]).then((end) => {
      this.#gate.close()
      this.#end = end
      if (end.failure !== null) this.#state = 'failed'
      else this.#state = end.finished ? 'finished' : 'halted'
    })
  }

  start(order: PrefetchOrder): void {
    if (this.#ordered) return
    this.#ordered = true
    this.#state = 'running'
    this.#thread.order(order)
  }

  /** For the thread that answers faults. */
  get gate(): SharedWords {
    return this.#gate.shared
  }

  get going(): boolean {
    return this.#state === 'waiting' || this.#state === 'running'
  }

  report(): ServedPrefetch {
    const counts = Object.fromEntries(
      prefetchCounterNames.map((name, index) => [name, this.#counters[index] as number]),
    ) as Record<PrefetchCounterName, number>
    return {
      state: this.#state,
      failure: this.#end?.failure ?? null,
      ...counts,
      ms: this.#end?.ms ?? null,
      directLayers: this.#end?.directLayers ?? null,
    }
  }

  /** Halts it, also if it never began. */
  async stop(): Promise<void> {
    Atomics.store(this.#halt, 0, 1)
    if (!this.#ordered) {
      this.#ordered = true
      this.#thread.order(null)
    }
    // Its turn has not come yet: the thread, which may be busy for another VM, will not touch this one's
    // memory.
    if (Atomics.compareExchange(this.#halt, 1, 0, calledOff) === 0)
      this.#callOff({ finished: false, failure: null, ms: 0, directLayers: 0 })
    await this.ended
  }
}
