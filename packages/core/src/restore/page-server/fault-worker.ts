import { openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import { pageSizeBytes } from '../../memory/units.js'
import { adviseRandomAccess, mapFile } from '../../sys/memory-map.js'
import { Poller } from '../../sys/poll.js'
import { UserfaultOps } from '../../sys/userfaultfd.js'
import { FaultLoop } from './fault-loop.js'
import type { ServedRegion } from './handshake.js'

/** What the main thread hands over at start; typed arrays over shared memory stay shared. */
export interface FaultWorkerData {
  readonly layers: readonly { readonly path: string; readonly pages: number }[]
  readonly map: ExtentMap
  readonly randomAccess: boolean
  /** Polls readable when the worker shall end. */
  readonly stopEvent: number
  readonly counters: Float64Array
  readonly trace: Uint32Array
}

export interface ServeOrder {
  readonly userfaultfd: number
  readonly regions: readonly ServedRegion[]
}

/** How soon deferred faults are tried again while no new event comes. */
const retryMs = 1

const { layers, map, randomAccess, stopEvent, counters, trace } = workerData as FaultWorkerData
const port = parentPort
if (port === null) throw new Error('fault-worker.js is a worker thread')

// The mappings live as long as the process: nothing unmaps what a fault may still be copied from.
const sources = layers.map(({ path, pages }) => {
  // No run of the map leads to a layer without pages, and a mapping of nothing is EINVAL.
  if (pages === 0) return { address: 0, lengthBytes: 0 }
  const mapping = mapFile(openSync(path, 'r'), pages * pageSizeBytes)
  if (randomAccess) adviseRandomAccess(mapping)
  return mapping
})
port.once('message', ({ userfaultfd, regions }: ServeOrder) => {
  const loop = new FaultLoop({
    ops: new UserfaultOps(userfaultfd),
    regions,
    map,
    layers: sources,
    counters,
    trace,
  })
  const poller = new Poller([userfaultfd, stopEvent])
  for (let again = false; ; ) {
    poller.wait(again ? retryMs : -1)
    if (poller.readable(1)) break
    // The kernel says so of a userfaultfd that is blocking or was never set up. A read of the former would sleep.
    if (poller.broken(0)) throw new VarveError('PAGE_SERVER_PROTOCOL', 'the userfaultfd cannot be polled')
    again = loop.serve()
  }
})
port.postMessage('ready')
