import { closeSync, openSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import type { ExtentMap } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import { mapAnonymous, populateForReading } from '../../sys/memory-map.js'
import { isResident } from '../../sys/mincore.js'
import { openDirect, readInto } from '../../sys/read-into.js'
import { type CopySource, UserfaultOps } from '../../sys/userfaultfd.js'
import { readWorkingSet } from '../../working-set/working-set-file.js'
import { FetchGate, type SharedWords } from '../faults/fetch-gate.js'
import { hasBegun, PrefetchLoop, type PrefetchSource, stagingPages } from './prefetch-loop.js'
import { type PrefetchPiece, prefetchPlan } from './prefetch-plan.js'

/** One VM's working set: made ready at once, fetched when there is memory to put it into. */
export interface PrefetchTask {
  readonly workingSetPath: string
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
}

export interface PrefetchOrder {
  readonly userfaultfd: number
  readonly regions: readonly MappedRegion[]
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
  readonly plan: readonly PrefetchPiece[]
  readonly sources: readonly PrefetchSource[]
  readonly directLayers: number
  close(): void
}

const tasks = new Map<number, Promise<Ready>>()
port.on('message', (request: PrefetchRequest) => {
  const { number } = request
  if ('task' in request) {
    const ready = prepare(request.task)
    // Told when the order comes.
    ready.catch(() => {})
    tasks.set(number, ready)
    return
  }
  const ready = tasks.get(number)
  tasks.delete(number)
  if (ready !== undefined) void answer(number, ready, request.order)
})

async function answer(number: number, preparing: Promise<Ready>, order: PrefetchOrder | null): Promise<void> {
  const begin = performance.now()
  let [finished, failure, directLayers] = [false, null as string | null, 0]
  try {
    const made = await preparing
    directLayers = made.directLayers
    try {
      if (order !== null) finished = run(made, order)
    } finally {
      made.close()
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
    return { task, plan, sources, directLayers: opened.length, close }
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

/** True if all was fetched. */
function run({ task, plan, sources }: Ready, { userfaultfd, regions }: PrefetchOrder): boolean {
  const { halt, faultCounters, removedPages, counters } = task
  if (Atomics.compareExchange(halt, 1, 0, hasBegun) !== 0) return false
  // What the guest gave back must not come back: its balloon ends the fetching. What is then
  // missing comes when it is asked for.
  const halted = () => Atomics.load(halt, 0) !== 0 || (faultCounters[removedPages] as number) > 0
  const ops = new UserfaultOps(userfaultfd)
  const pause = () => Atomics.wait(never, 0, 0, 1)
  const gate = new FetchGate(task.gate)
  const bring = populateForReading
  return new PrefetchLoop({
    ops,
    regions,
    plan,
    sources,
    staging,
    counters,
    halted,
    pause,
    gate,
    bring,
  }).run()
}
