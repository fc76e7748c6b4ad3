import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type {
  PrefetchAnswer,
  PrefetchEnd,
  PrefetchOrder,
  PrefetchRequest,
  PrefetchTask,
} from './prefetch-worker.js'

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
 * At most this many fetch at once. More would take turns with the guests on the CPUs, and the start of a
 * thread takes some 40 ms of a CPU: eight restores at once with a thread each had their first answer twice as
 * late as without a set (docs/notes/page-server-throughput.md). Two at least, as one may wait for a disk.
 */
const maxThreads = Math.max(2, Math.floor(availableParallelism() / 2))

interface Fetcher {
  readonly worker: Worker
  /** Tasks that the thread has not answered yet, by number. */
  readonly tasks: Map<number, (end: PrefetchEnd) => void>
}

/**
 * The threads that fetch ahead for all VMs of a server. Each takes the orders of its tasks one after the
 * other; until its turn comes, a VM's pages come when they are asked for. A thread that has no task is kept
 * for the next one.
 */
export class PrefetchPool {
  readonly #fetchers = new Set<Fetcher>()
  readonly #start: () => Worker
  readonly #maxThreads: number
  #tasks = 0

  constructor({ start = startWorker, threads = maxThreads } = {}) {
    this.#start = start
    this.#maxThreads = threads
  }

  /** Has a thread ready before it is needed. */
  warm(): void {
    if (this.#fetchers.size === 0) this.#add()
  }

  take(task: PrefetchTask): PrefetchThread {
    let fetcher = [...this.#fetchers].sort((a, b) => a.tasks.size - b.tasks.size)[0]
    if (fetcher === undefined || (fetcher.tasks.size > 0 && this.#fetchers.size < this.#maxThreads))
      fetcher = this.#add()
    const { worker, tasks } = fetcher
    const number = this.#tasks++
    const say = (request: PrefetchRequest) => worker.postMessage(request)
    const end = new Promise<PrefetchEnd>((resolve) => tasks.set(number, resolve))
    say({ number, task })
    return { order: (order) => say({ number, order }), end }
  }

  #add(): Fetcher {
    const fetcher: Fetcher = { worker: this.#start(), tasks: new Map() }
    const { worker, tasks } = fetcher
    this.#fetchers.add(fetcher)
    worker.on('message', ({ number, ...end }: PrefetchAnswer) => {
      tasks.get(number)?.(end)
      tasks.delete(number)
      if (tasks.size === 0) this.#rest(fetcher)
    })
    worker.once('exit', () => {
      this.#fetchers.delete(fetcher)
      for (const resolve of tasks.values())
        resolve({ finished: false, failure: 'the thread ended', ms: 0, directLayers: 0 })
    })
    return fetcher
  }

  #rest(fetcher: Fetcher): void {
    const idle = [...this.#fetchers].filter(({ tasks }) => tasks.size === 0)
    if (idle.length <= maxIdle) return
    this.#fetchers.delete(fetcher)
    void fetcher.worker.terminate()
  }
}

function startWorker(): Worker {
  const worker = new Worker(new URL('./prefetch-worker.js', import.meta.url))
  worker.on('error', (error) => process.stderr.write(`page server: fetching ahead: ${error.stack}\n`))
  return worker
}
