import { Worker } from 'node:worker_threads'
import type { PrefetchEnd, PrefetchOrder, PrefetchRequest, PrefetchTask } from './prefetch-worker.js'

/** A thread that has taken one VM's task. */
export interface PrefetchThread {
  /** Once; null: there is nothing to fetch for any more. */
  order(order: PrefetchOrder | null): void
  /** Never rejects. */
  readonly end: Promise<PrefetchEnd>
}

/** Each keeps some 10 MB. */
const maxIdle = 2

/**
 * The threads that fetch ahead, one for each VM that has it done at the moment. One that is done waits for the next VM, so that
 * starting a thread, some 40 ms, is on nobody's way.
 */
export class PrefetchPool {
  readonly #idle: Worker[] = []

  /** Has a thread ready before it is needed. */
  warm(): void {
    if (this.#idle.length === 0) this.#idle.push(this.#start())
  }

  take(task: PrefetchTask): PrefetchThread {
    const worker = this.#idle.pop() ?? this.#start()
    const say = (request: PrefetchRequest) => worker.postMessage(request)
    say({ task })
    const end = new Promise<PrefetchEnd>((resolve) => {
      const onExit = () => resolve({ finished: false, failure: 'the thread ended', ms: 0, directLayers: 0 })
      worker.once('exit', onExit)
      worker.once('message', (found: PrefetchEnd) => {
        worker.off('exit', onExit)
        this.#giveBack(worker)
        resolve(found)
      })
    })
    return { order: (order) => say({ order }), end }
  }

  #start(): Worker {
    const worker = new Worker(new URL('./prefetch-worker.js', import.meta.url))
    worker.on('error', (error) => process.stderr.write(`page server: fetching ahead: ${error.stack}\n`))
    worker.once('exit', () => {
      const at = this.#idle.indexOf(worker)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    return worker
  }

  #giveBack(worker: Worker): void {
    if (this.#idle.length < maxIdle) this.#idle.push(worker)
    else void worker.terminate()
  }
}
