import { openSync } from 'node:fs'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import { pageSizeBytes } from '../../memory/units.js'
import { clearEvent } from '../../sys/eventfd.js'
import { adviseRandomAccess, mapAnonymous, mapFile } from '../../sys/memory-map.js'
import { Poller } from '../../sys/poll.js'
import { UserfaultOps } from '../../sys/userfaultfd.js'
import { FaultLoop } from './fault-loop.js'
import type { FaultAnswer, FaultOrder } from './fault-orders.js'
import { FaultRecord } from './fault-record.js'

/** What the main thread hands over at start; typed arrays over shared memory stay shared. */
export interface FaultWorkerData {
  readonly layers: readonly { readonly path: string; readonly pages: number }[]
  readonly map: ExtentMap
  readonly randomAccess: boolean
  /** Polls readable when the worker shall end. */
  readonly stopEvent: number
  /** Polls readable when orders were posted. */
  readonly orderEvent: number
  readonly counters: Float64Array
}

/** How soon deferred faults are tried again while no new event comes. */
const retryMs = 1

const { layers, map, randomAccess, stopEvent, orderEvent, counters } = workerData as FaultWorkerData
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
const zeros = mapAnonymous(pageSizeBytes)

/** Ordered before there was memory to record: `writes` of it. */
let early: { readonly writes: boolean } | undefined
let loop: FaultLoop | undefined
let poller = new Poller([stopEvent, orderEvent])
port.postMessage('ready')
for (let again = false; ; ) {
  poller.wait(again ? retryMs : -1)
  if (poller.readable(0)) break
  if (poller.readable(1)) {
    obeyAll()
    // The userfaultfd may be new to the poller, and is never read before it was polled.
    continue
  }
  if (loop === undefined) continue
  // The kernel says so of a userfaultfd that is blocking or was never set up. A read of the former would sleep.
  if (poller.broken(2)) throw new VarveError('PAGE_SERVER_PROTOCOL', 'the userfaultfd cannot be polled')
  again = loop.serve()
}

function obeyAll(): void {
  // Before the orders are read: one that comes later raises it again.
  clearEvent(orderEvent)
  for (;;) {
    const received = receiveMessageOnPort(port as NonNullable<typeof port>) as
      | { message: FaultOrder }
      | undefined
    if (received === undefined) return
    port?.postMessage(obey(received.message))
  }
}

function obey(order: FaultOrder): FaultAnswer {
  switch (order.kind) {
    case 'serve': {
      const { userfaultfd, regions } = order
      loop = new FaultLoop({
        ops: new UserfaultOps(userfaultfd),
        regions,
        map,
        layers: sources,
        zeros,
        counters,
        around: !randomAccess,
      })
      poller = new Poller([stopEvent, orderEvent, userfaultfd])
      // A failure here ends the server: a recording that was asked for and does not record would lie.
      if (early !== undefined) loop.record(early.writes)
      early = undefined
      return {}
    }
    case 'record':
      if (early !== undefined || loop?.recording === true)
        return { error: 'a recording of this VM is on; end it first' }
      if (loop !== undefined) return refusable(order.writes)
      early = { writes: order.writes }
      return { fromTheFirst: true }
    case 'recorded': {
      const recorded = loop ? loop.recorded() : early && new FaultRecord(map.pages, early.writes).copy()
      if (recorded === undefined) return { error: 'nothing is recorded' }
      if (order.next === 'stop') {
        early = undefined
        loop?.stopRecording()
      } else if (order.next === 'again') {
        const { error } = refusable(recorded.written !== null)
        if (error !== undefined) return { error }
      }
      return { recorded }
    }
  }
}

/** Begins a recording, or a period of it. */
function refusable(writes: boolean): FaultAnswer {
  try {
    loop?.record(writes)
    return { fromTheFirst: false }
  } catch (error) {
    loop?.stopRecording()
    return { error: (error as Error).message }
  }
}
