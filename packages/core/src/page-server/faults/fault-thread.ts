import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import { placeThread, threadCpus } from '../../sys/affinity.js'
import { raiseEvent } from '../../sys/eventfd.js'
import type { FaultAnswer, FaultMessage, FaultOrder, FaultThreadStarted } from './fault-orders.js'
import type { FaultWorkerData } from './fault-worker.js'

interface FaultThreadEvents {
  /** One VM cannot be served. Its faults are not answered from now on; others are served on. */
  onVmFailure(vm: number, reason: string): void
  /** The VMM has ended, whatever its reasons. */
  onVmEnd(vm: number): void
  /** This VM's memory is all there, and its own: the thread has left it. */
  onGraduated(vm: number, copiedPages: number): void
  /** It cannot be brought there; its faults are answered as before. */
  onStranded(vm: number, reason: string): void
  /** Called once, with the reason, when the thread ends without having been told to. */
  onFailure(error: unknown): void
}

/** The thread that answers the faults of all VMs, as the main thread sees it. */
export class FaultThread {
  readonly #worker: Worker
  readonly #started: Promise<FaultThreadStarted>
  /** Where each VM that asked for it wants its faults answered. */
  readonly #places = new Map<number, number>()
  #anywhere: readonly number[] | undefined
  /** How many CPUs the thread may use; it looks there, and notes at its start how many it has. */
  readonly #cpus = new Int32Array(new SharedArrayBuffer(4))
  /** Who waits for an answer, in the order of the orders. */
  readonly #waiting: ((answer: FaultAnswer) => void)[] = []

  constructor(events: FaultThreadEvents) {
    const { onFailure } = events
    // No call into libc here: the first one loads koffi, which then happens while the thread starts.
    this.#worker = new Worker(new URL('./fault-worker.js', import.meta.url), {
      workerData: { cpus: this.#cpus } satisfies FaultWorkerData,
      // It prints nothing there; to connect it takes more than a millisecond of the server's start.
      stdout: true,
    })
    this.#worker.once('error', onFailure)
    this.#worker.once('exit', () =>
      onFailure(new VarveError('PAGE_SERVER_PROTOCOL', 'the fault thread ended')),
    )
    this.#started = once(this.#worker, 'message').then(([first]) => {
      this.#worker.on('message', (message: FaultMessage) => {
        if ('failed' in message) events.onVmFailure(message.failed, message.reason)
        else if ('ended' in message) events.onVmEnd(message.ended)
        else if ('graduated' in message) events.onGraduated(message.graduated, message.copiedPages)
        else if ('stranded' in message) events.onStranded(message.stranded, message.reason)
        else this.#waiting.shift()?.(message as FaultAnswer)
      })
      return first as FaultThreadStarted
    })
  }

  async ready(): Promise<void> {
    await this.#started
  }

  async order(order: FaultOrder): Promise<FaultAnswer> {
    const { orderEvent } = await this.#started
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#worker.postMessage(order)
      // The thread sleeps in poll, not in Node's event loop.
      raiseEvent(orderEvent)
    })
  }

  /**
   * Has a VM's faults answered on a CPU; null: it asks for none any more. If VMs ask for several, the thread
   * runs on all of these. INVALID_ARGUMENT (a CPU that is not there) changes nothing.
   */
  async place(vm: number, cpu: number | null): Promise<void> {
    if (cpu === null) {
      if (!this.#places.delete(vm)) return
    } else this.#places.set(vm, cpu)
    const { thread } = await this.#started
    try {
      // Those of the main thread, which is placed nowhere.
      this.#anywhere ??= threadCpus(0)
      const cpus = this.#places.size === 0 ? this.#anywhere : [...new Set(this.#places.values())]
      placeThread(thread, cpus)
      Atomics.store(this.#cpus, 0, cpus.length)
    } catch (error) {
      this.#places.delete(vm)
      throw error
    }
  }

  async stop(): Promise<void> {
    // It must leave its loop first: neither terminate nor process.exit ends a thread that sleeps in poll.
    this.#worker.removeAllListeners('exit')
    void this.order({ kind: 'stop' })
    await this.#worker.terminate()
  }
}
