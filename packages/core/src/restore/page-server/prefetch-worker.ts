import { openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import { pageSizeBytes } from '../../memory/units.js'
import { mapAnonymous, mapFile } from '../../sys/memory-map.js'
import { isResident } from '../../sys/mincore.js'
import { openDirect, readInto } from '../../sys/read-into.js'
import { UserfaultOps } from '../../sys/userfaultfd.js'
import { readWorkingSet } from '../../working-set/working-set-file.js'
import type { ServedRegion } from './handshake.js'
import { PrefetchLoop, type PrefetchSource, stagingPages } from './prefetch-loop.js'
import { type PrefetchPiece, prefetchPlan } from './prefetch-plan.js'

export interface PrefetchWorkerData {
  readonly workingSetPath: string
  readonly layers: readonly { readonly path: string; readonly pages: number }[]
  readonly map: ExtentMap
  readonly counters: Float64Array
  /** Set to 1 to halt. */
  readonly halt: Int32Array
  /** Of the fault loop: pages that the guest gave back. */
  readonly faultCounters: Float64Array
  readonly removedPages: number
}

export interface PrefetchOrder {
  readonly userfaultfd: number
  readonly regions: readonly ServedRegion[]
}

/** The thread's last message. */
export interface PrefetchEnd {
  readonly finished: boolean
  readonly ms: number
  /** Layers that were read past the page cache. */
  readonly directLayers: number
}

/** A layer of which less than this share of the wanted pages is in the page cache is read past it. */
const warmShare = 0.9
const samples = 256

const { workingSetPath, layers, map, counters, halt, faultCounters, removedPages } =
  workerData as PrefetchWorkerData
const port = parentPort
if (port === null) throw new Error('prefetch-worker.js is a worker thread')
const workingSet = await readWorkingSet(workingSetPath)
if (workingSet.pages !== map.pages)
  throw new VarveError(
    'IMAGE_MISMATCH',
    `working set of ${workingSet.pages} pages for an image of ${map.pages}`,
  )
const plan = prefetchPlan(workingSet, map)
const staging = mapAnonymous(stagingPages * pageSizeBytes)
const sources = layers.map(({ path, pages }, index) =>
  sourceOf(
    path,
    pages,
    plan.filter(({ source }) => source === index),
  ),
)
const directLayers = sources.filter(({ read }) => read !== undefined).length

/** What the guest gave back must not come back: its balloon ends the fetching. What is then missing comes when it is asked for. */
const halted = () => Atomics.load(halt, 0) !== 0 || (faultCounters[removedPages] as number) > 0
const never = new Int32Array(new SharedArrayBuffer(4))

port.once('message', ({ userfaultfd, regions }: PrefetchOrder) => {
  const begin = performance.now()
  const loop = new PrefetchLoop({
    ops: new UserfaultOps(userfaultfd),
    regions,
    plan,
    sources,
    staging,
    counters,
    halted,
    pause: () => Atomics.wait(never, 0, 0, 1),
  })
  const finished = loop.run()
  port.postMessage({ finished, ms: performance.now() - begin, directLayers } satisfies PrefetchEnd)
})

function sourceOf(path: string, pages: number, wanted: readonly PrefetchPiece[]): PrefetchSource {
  if (pages === 0 || wanted.length === 0) return { mapped: { address: 0, lengthBytes: 0 } }
  const fd = openSync(path, 'r')
  const mapped = mapFile(fd, pages * pageSizeBytes)
  const step = Math.max(1, Math.floor(wanted.length / samples))
  let [looked, resident] = [0, 0]
  for (let index = 0; index < wanted.length; index += step, looked++)
    if (isResident(mapped, (wanted[index] as PrefetchPiece).sourcePage)) resident++
  if (resident >= warmShare * looked) return { mapped }
  const direct = openDirect(path) ?? fd
  const read = (firstPage: number, count: number) => {
    const length = count * pageSizeBytes
    const bytes = readInto(direct, staging, 0, length, firstPage * pageSizeBytes)
    if (bytes < length)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `layer ${path} ends at byte ${firstPage * pageSizeBytes + bytes}`,
      )
  }
  return { mapped, read }
}
