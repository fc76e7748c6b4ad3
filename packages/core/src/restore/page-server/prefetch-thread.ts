import { Worker } from 'node:worker_threads'
import { counterNames } from './fault-loop.js'
import { type PrefetchCounterName, prefetchCounterNames } from './prefetch-loop.js'
import type { PrefetchEnd, PrefetchOrder, PrefetchWorkerData } from './prefetch-worker.js'

/** What fetching ahead did, or does. */
export interface ServedPrefetch extends Readonly<Record<PrefetchCounterName, number>> {
  /**
   * `waiting` for the VM's memory; `running`; `finished`; `halted` because the guest gave memory back; `failed`: `failure` says
   * why. Whatever it is, a page that was not fetched comes when it is asked for.
   */
  readonly state: 'waiting' | 'running' | 'finished' | 'halted' | 'failed'
  readonly failure: string | null
  /** From the handshake on; null while it goes on. */
  readonly ms: number | null
  /** Layers that were not in the page cache and were read past it; null while it goes on. */
  readonly directLayers: number | null
}

/** The thread that installs a working set's pages while another one answers faults. */
export class PrefetchThread {
  readonly #worker: Worker
  readonly #counters = new Float64Array(new SharedArrayBuffer(prefetchCounterNames.length * 8))
  readonly #halt = new Int32Array(new SharedArrayBuffer(4))
  #state: ServedPrefetch['state'] = 'waiting'
  #failure: string | null = null
  #end: PrefetchEnd | undefined
  /** Resolves once there is nothing more to come. */
  readonly ended: Promise<void>

  constructor(data: Omit<PrefetchWorkerData, 'counters' | 'halt' | 'removedPages'>) {
    this.#worker = new Worker(new URL('./prefetch-worker.js', import.meta.url), {
      workerData: {
        ...data,
        counters: this.#counters,
        halt: this.#halt,
        removedPages: counterNames.indexOf('removedPages'),
      } satisfies PrefetchWorkerData,
    })
    this.ended = new Promise((resolve) => {
      this.#worker.once('message', (end: PrefetchEnd) => {
        this.#end = end
        this.#state = end.finished ? 'finished' : 'halted'
        resolve()
      })
      this.#worker.once('error', (error) => {
        this.#failure = error.message
        this.#state = 'failed'
        resolve()
      })
    })
  }

  start(order: PrefetchOrder): void {
    if (this.#state === 'waiting') this.#state = 'running'
    this.#worker.postMessage(order)
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
      failure: this.#failure,
      ...counts,
      ms: this.#end?.ms ?? null,
      directLayers: this.#end?.directLayers ?? null,
    }
  }

  async stop(): Promise<void> {
    Atomics.store(this.#halt, 0, 1)
    await this.#worker.terminate()
  }
}
