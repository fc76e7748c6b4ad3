import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import { createEvent, raiseEvent } from '../../sys/eventfd.js'
import type { FaultAnswer, FaultOrder } from './fault-orders.js'
import type { FaultWorkerData } from './fault-worker.js'

/** The thread that answers faults, as the main thread sees it. */
export class FaultThread {
  readonly #worker: Worker
  readonly #stopEvent = createEvent()
  readonly #orderEvent = createEvent()
  readonly #ready: Promise<unknown>
  /** Who waits for an answer, in the order of the orders. */
  readonly #waiting: ((answer: FaultAnswer) => void)[] = []

  /** `onFailure` is called once, with the reason, when the thread ends without having been told to. */
  constructor(data: Omit<FaultWorkerData, 'stopEvent' | 'orderEvent'>, onFailure: (error: unknown) => void) {
    this.#worker = new Worker(new URL('./fault-worker.js', import.meta.url), {
      workerData: {
        ...data,
        stopEvent: this.#stopEvent,
        orderEvent: this.#orderEvent,
      } satisfies FaultWorkerData,
    })
    this.#worker.once('error', onFailure)
    this.#worker.once('exit', () =>
      onFailure(new VarveError('PAGE_SERVER_PROTOCOL', 'the fault thread ended')),
    )
    this.#ready = once(this.#worker, 'message').then(() => {
      this.#worker.on('message', (answer: FaultAnswer) => this.#waiting.shift()?.(answer))
    })
  }

  /** The layers are mapped. */
  async ready(): Promise<void> {
    await this.#ready
  }

  async order(order: FaultOrder): Promise<FaultAnswer> {
    await this.#ready
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#worker.postMessage(order)
      // The thread sleeps in poll, not in Node's event loop.
      raiseEvent(this.#orderEvent)
    })
  }

  async stop(): Promise<void> {
    // It must be woken first: neither terminate nor process.exit ends a thread that sleeps in poll.
    raiseEvent(this.#stopEvent)
    await this.#worker.terminate()
  }
}
