import { closeSync, openSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import { pageSizeBytes } from '../../memory/units.js'
import { mapAnonymous, populateForReading } from '../../sys/memory-map.js'
import { isResident } from '../../sys/mincore.js'
import { Pagemap } from '../../sys/pagemap.js'
import { openDirect, readInto } from '../../sys/read-into.js'
import { type CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import { readWorkingSet } from '../../working-set/working-set-file.js'
import { FetchGate, type SharedWords } from '../faults/fetch-gate.js'
import { Frames } from '../faults/frames.js'
import type { ServedMemory } from '../protocol/handshake.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { FramePrefetch, framesToFetch } from './frame-prefetch.js'
import {
  hasBegun,
  PrefetchLoop,
  type PrefetchLoopParts,
  type PrefetchSource,
  stagingPages,
} from './prefetch-loop.js'
import { type PrefetchPiece, prefetchPlan } from './prefetch-plan.js'
import { type RushWord, waitOutRush } from './rush.js'

/** One VM's working set: made ready at once, fetched when there is memory to put it into. */
export interface PrefetchTask {
  readonly workingSetPath: string
  /** Of the VMM. */
  readonly pid: number
  readonly layers: readonly { readonly path: string; readonly pages: number }[]
  /** Where each layer is mapped in this process. */
  readonly mapped: readonly CopySource[]
  readonly map: ExtentMap
  readonly counters: Float64Array
  /**
   * Two words: the first is 1 to halt; the second says whether the task `hasBegun` or was called off before.
   */
  readonly halt: Int32Array
  /** Shared memory of the `FetchGate`. */
  readonly gate: SharedWords
  /** Of the fault loop: pages that the guest gave back. */
  readonly faultCounters: Float64Array
  readonly removedPages: number
  /** Sets wait while it is 1: see `Rush`. */
  readonly rush: RushWord
}

export interface PrefetchOrder extends ServedMemory {
  readonly userfaultfd: number
}

/**
 * A task comes first, then its order, once; `null` comes instead if the VM has ended before. Each task has a
 * number.
 */
export type PrefetchRequest = { readonly number: number } & (
  | { readonly task: PrefetchTask }
  | { readonly order: PrefetchOrder | null }
)

/** The thread's answer to task and order together. */
export type PrefetchAnswer = PrefetchEnd & { readonly number: number }

export interface PrefetchEnd {
  readonly finished: boolean
  readonly failure: string | null
  readonly ms: number
  /** Layers that were read past the page cache. */
  readonly directLayers: number
}

/** A layer of which less than this share of the wanted pages is in the page cache is read past it. */
const warmShare = 0.9
const samples = 256

const port = parentPort
if (port === null) throw new Error('prefetch-worker.js is a worker thread')
const staging = mapAnonymous(stagingPages * pageSizeBytes)
const never = new Int32Array(new SharedArrayBuffer(4))

interface Ready {
  readonly task: PrefetchTask
  readonly workingSet: WorkingSet
  readonly plan: readonly PrefetchPiece[]
  readonly sources: readonly PrefetchSource[]
  readonly directLayers: number
  close(): void
}

interface Waiting {
  readonly task: PrefetchTask
  /** In a rush nothing is made ready before the order. */
  readonly ready: Promise<Ready> | undefined
}

const tasks = new Map<number, Waiting>()
port.on('message', (request: PrefetchRequest) => {
  const { number } = request
  if ('task' in request) {
    const { task } = request
    const ready = Atomics.load(task.rush, 0) === 1 ? undefined : prepare(task)
    // Told when the order comes.
    ready?.catch(() => {})
    tasks.set(number, { task, ready })
    return
  }
  const waiting = tasks.get(number)
  tasks.delete(number)
  if (waiting !== undefined) void answer(number, waiting, request.order)
})

async function answer(number: number, { task, ready }: Waiting, order: PrefetchOrder | null): Promise<void> {
  const begin = performance.now()
  const halted = haltedBy(task)
  const yields = () => waitOutRush(task.rush, halted)
  let [finished, failure, directLayers] = [false, null as string | null, 0]
  try {
    if (order !== null) yields()
    const made = order === null || halted() ? await ready : await (ready ?? prepare(task))
    directLayers = made?.directLayers ?? 0
    try {
      if (made !== undefined && order !== null) finished = run(made, order, { halted, yields })
    } finally {
      made?.close()
    }
  } catch (error) {
    failure = (error as Error).message
  }
  const ms = performance.now() - begin
  port?.postMessage({ number, finished, failure, ms, directLayers } satisfies PrefetchAnswer)
}

async function prepare(task: PrefetchTask): Promise<Ready> {
  const { workingSetPath, map, layers, mapped } = task
  const workingSet = await readWorkingSet(workingSetPath)
  if (workingSet.pages !== map.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `working set of ${workingSet.pages} pages for an image of ${map.pages}`,
    )
  const plan = prefetchPlan(workingSet, map)
  const opened: number[] = []
  const close = () => {
    for (const fd of opened.splice(0)) closeSync(fd)
  }
  try {
    const sources = layers.map(({ path }, index): PrefetchSource => {
      const source = { mapped: mapped[index] as CopySource }
      const wanted = plan.filter((piece) => piece.source === index)
      if (wanted.length === 0 || isWarm(source.mapped, wanted)) return source
      const fd = openDirect(path) ?? openSync(path, 'r')
      opened.push(fd)
      return { ...source, read: (firstPage, pages) => readPages(fd, path, firstPage, pages) }
    })
    return { task, workingSet, plan, sources, directLayers: opened.length, close }
  } catch (error) {
    close()
    throw error
  }
}

function isWarm(mapped: CopySource, wanted: readonly PrefetchPiece[]): boolean {
  const step = Math.max(1, Math.floor(wanted.length / samples))
  let [looked, resident] = [0, 0]
  for (let index = 0; index < wanted.length; index += step, looked++)
    if (isResident(mapped, (wanted[index] as PrefetchPiece).storedPage)) resident++
  return resident >= warmShare * looked
}

function readPages(fd: number, path: string, firstPage: number, pages: number): void {
  const length = pages * pageSizeBytes
  const bytes = readInto(fd, staging, 0, length, firstPage * pageSizeBytes)
  if (bytes < length)
    throw new VarveError('IMAGE_MISMATCH', `layer ${path} ends at byte ${firstPage * pageSizeBytes + bytes}`)
}

/** What the guest gave back must not come back: its balloon ends the fetching. */
const haltedBy =
  ({ halt, faultCounters, removedPages }: PrefetchTask) =>
  () =>
    Atomics.load(halt, 0) !== 0 || (faultCounters[removedPages] as number) > 0

/** True if all was fetched. What is then missing comes when it is asked for. */
function run(
  { task, workingSet, plan, sources }: Ready,
  { userfaultfd, regions, hugePages }: PrefetchOrder,
  stops: Pick<PrefetchLoopParts, 'halted' | 'yields'>,
): boolean {
  if (Atomics.compareExchange(task.halt, 1, 0, hasBegun) !== 0) return false
  const parts = {
    ops: new UserfaultOps(userfaultfd),
    regions,
    counters: task.counters,
    pause: () => Atomics.wait(never, 0, 0, 1),
    gate: new FetchGate(task.gate),
    bring: populateForReading,
    ...stops,
  }
  if (!hugePages) return new PrefetchLoop({ ...parts, plan, sources, staging }).run()
  const { map, mapped: layers, pid } = task
  using pagemap = new Pagemap(pid)
  // A removal halts the fetching.
  const frames = new Frames({ map, layers, removed: new RemovedPages(map.pages), pagemap })
  return new FramePrefetch({ ...parts, frames, plan: framesToFetch(workingSet, regions), layers }).run()
}
