import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isVarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import { zeroSource } from '../../layer/extent-map.js'
import { pageSizeBytes } from '../../memory/units.js'
import { discardPages, type MemoryMapping, mapAnonymous } from '../../sys/memory-map.js'
import { openPidfd } from '../../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { PageToucher } from '../../sys/touch-pages.js'
import { createUserfaultfd, registerMissing } from '../../sys/userfaultfd.js'
import { counterNames } from './fault-loop.js'
import type { FaultOrder } from './fault-orders.js'
import type { FaultThread } from './fault-thread.js'
import { sharedMap } from './shared-map.js'

/** V8 has compiled all of a fault's way after some 6,000 faults (docs/notes/page-server-throughput.md). */
const enoughFaults = 12_000
/** Faults of a slice: 0.2 ms on one CPU, 2 ms where each is a wake-up of another CPU. */
const sliceFaults = 32
/** Between two slices: others have the CPU most of the time, so that the warm-up takes some 3 s. */
const restMs = 5

/**
 * Of the image: runs of a layer, each followed by a few pages of zeros, so that a fault looks for its run as
 * in a real image.
 */
const runPages = 61
const zeroPages = 3
/** Prime to the length of a run and its zeros. No window of four pages is met twice. */
const farApart = 13
/**
 * One slice of so many touches pages in a row, whose neighbours are of use; the others touch pages far apart.
 */
const denseEvery = 8
const imagePages = enoughFaults * farApart

/** No VM of the server has this number. */
const ownVm = -1

/**
 * Has the fault thread answer faults on memory of this process, as if that were a VM, so that V8 has compiled
 * the code before the first VM needs it: a cold thread takes 20 to 45 µs a fault in the first 600, warm 6 µs.
 * It is the same code on objects of the same shape; what is compiled for other shapes would be thrown away at
 * the first real fault.
 */
export class WarmUp {
  readonly #faults: FaultThread
  #done = 0
  #slices = 0
  #halt: AbortController | undefined
  #run: Promise<void> | undefined

  constructor(faults: FaultThread) {
    this.#faults = faults
  }

  /** Nothing is left to do, or nothing can be done. */
  get over(): boolean {
    return this.#done >= enoughFaults
  }

  /**
   * Goes on with it until it is over or told to `halt`; where it is going on already, it is not begun again.
   */
  run(): Promise<void> {
    if (this.over) return Promise.resolve()
    this.#run ??= this.#slicesUntilHalted().finally(() => {
      this.#run = undefined
    })
    return this.#run
  }

  /**
   * Begins no further slice, and leaves the fault thread as soon as the slice that is under way has ended.
   * `run` goes on later.
   */
  async halt(): Promise<void> {
    this.#halt?.abort()
    await this.#run
  }

  async #slicesUntilHalted(): Promise<void> {
    this.#halt = new AbortController()
    const { signal } = this.#halt
    try {
      using toucher = new PageToucher(sliceFaults)
      using memory = mapAnonymous(imagePages * pageSizeBytes)
      using layer = mapAnonymous(runPages * pageSizeBytes)
      using pidfd = closing(openPidfd(processIdentity(process.pid) as ProcessIdentity) as number)
      using userfaultfd = closing(createUserfaultfd(0))
      registerMissing(userfaultfd.fd, memory.address, memory.lengthBytes)
      await this.#faults.order(serveOwn(userfaultfd.fd, pidfd.fd, memory, layer))
      try {
        while (!signal.aborted && !this.over) {
          await this.#slice(memory, toucher)
          await sleep(restMs, undefined, { signal }).catch(() => {})
        }
      } finally {
        await this.#faults.order({ kind: 'drop', vm: ownVm })
      }
    } catch (error) {
      // This user gets no userfaultfd, or no memory: VMs are served all the same.
      if (!isVarveError(error)) throw error
      this.#done = enoughFaults
    }
  }

  async #slice(memory: MemoryMapping, toucher: PageToucher): Promise<void> {
    const apart = this.#slices++ % denseEvery === 0 ? 1 : farApart
    const address = memory.address + this.#done * farApart * pageSizeBytes
    const count = Math.min(sliceFaults, enoughFaults - this.#done)
    await toucher.touch(address, count, apart * pageSizeBytes)
    discardPages(address, count * farApart * pageSizeBytes)
    this.#done += count
  }
}

const closing = (fd: number) => ({ fd, [Symbol.dispose]: () => closeSync(fd) })

function serveOwn(
  userfaultfd: number,
  pidfd: number,
  memory: MemoryMapping,
  layer: MemoryMapping,
): FaultOrder {
  return {
    kind: 'serve',
    vm: ownVm,
    userfaultfd,
    regions: [{ address: memory.address, startPage: 0, pages: imagePages }],
    pidfd,
    map: sharedMap(image()),
    layers: [{ address: layer.address, lengthBytes: layer.lengthBytes }],
    counters: new Float64Array(new SharedArrayBuffer(counterNames.length * 8)),
    around: true,
    // Nothing is ever removed: this userfaultfd reports no removals.
    removed: { path: '', known: undefined, statePath: '' },
    record: null,
    gate: null,
    takeOver: false,
  }
}

function image(): ExtentMap {
  const period = runPages + zeroPages
  const runs = Math.ceil(imagePages / period) * 2
  const start = (run: number) => (run >>> 1) * period + (run % 2 === 0 ? 0 : runPages)
  const indices = Array.from({ length: runs }, (_, run) => run).filter((run) => start(run) < imagePages)
  return {
    pages: imagePages,
    starts: Uint32Array.from(indices, start),
    counts: Uint32Array.from(indices, (run) =>
      Math.min(run % 2 === 0 ? runPages : zeroPages, imagePages - start(run)),
    ),
    sources: Int16Array.from(indices, (run) => (run % 2 === 0 ? 0 : zeroSource)),
    sourcePages: new Uint32Array(indices.length),
  }
}
