import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { isVarveError, VarveError } from '../errors.js'
import type { ExtentMap } from '../layer/extent-map.js'
import type { LayerFile } from '../layer/layer-types.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import { pageSizeBytes } from '../memory/units.js'
import { pathError } from '../not-found.js'
import { maxPassedDescriptors } from '../sys/fd-passing.js'
import { giveDescriptors } from '../sys/inject/inject-descriptors.js'
import { Injection } from '../sys/inject/injection.js'
import { Tracee } from '../sys/inject/ptrace.js'
import { SyscallTable } from '../sys/inject/syscall-table.js'
import { systemCall } from '../sys/inject/system-call.js'
import { errnoName } from '../sys/libc.js'
import { openPidfd, signalPidfd } from '../sys/pidfd.js'
import { isEnding, type ProcessIdentity } from '../sys/proc.js'
import { awaitMemory } from './await-memory.js'
import {
  addExtentCalls,
  addPrefaultCalls,
  addZeroCalls,
  besideCalls,
  type PrefaultStep,
  windowsOf,
} from './plan.js'

export interface MapOrder {
  readonly vmm: ProcessIdentity
  /**
   * The file that the VMM is going to map as its memory, see `fileIdentity`. What is in it does not matter.
   */
  readonly memoryFile: string
  readonly map: ExtentMap
  readonly layers: readonly LayerFile[]
  readonly prefault: readonly PrefaultStep[]
  /**
   * How long the VMM is held for them (milliseconds; null: for all); a thread of the VMM brings the rest,
   * alongside the load and the guest, if that can be.
   */
  readonly prefaultBudgetMs: number | null
}

/** What was done, in milliseconds and counts. */
export interface MapReport {
  readonly regions: number
  /** Calls of mmap. */
  readonly mappings: number
  /** From the first stop of the load to the VMM's going on: what the load took longer. */
  readonly heldMs: number
  /** Of it: the mapping, and the bringing in of pages. */
  readonly mapMs: number
  readonly prefaultMs: number
  readonly prefault: {
    readonly readOnlyPages: number
    readonly writtenPages: number
    /** How many of these were left to that thread. */
    readonly besidePages: number
    /**
     * The thread of the VMM by which they come while it goes on; nothing is known of refused
     * calls then. Null: they are there.
     */
    readonly thread: number | null
    /**
     * Why the VMM was held until all pages were mapped, although a thread should have brought them; null if
     * it was not. A thread needs a Firecracker that is linked with musl, as its releases are.
     */
    readonly heldBecause: string | null
    readonly refusedCalls: number
  }
  readonly stops: number
}

/**
 * Maps an image into a VMM that is about to load a snapshot. `attached` is called once the VMM is held by it:
 * the load may begin then, and waits where its memory is mapped. Blocks this thread until the VMM has gone
 * on. On any error after `attached` the VMM is killed: none goes on half-mapped.
 */
export function mapIntoVmm(order: MapOrder, attached: () => void): MapReport {
  const pidfd = openPidfd(order.vmm)
  if (pidfd === undefined) throw endedBeforeLoad(order.vmm)
  const files: number[] = []
  try {
    for (const layer of order.layers) files.push(openLayer(layer))
    const tracee = seize(order.vmm)
    try {
      tracee.interrupt()
      const stop = tracee.wait()
      if (stop.kind === 'ended') throw endedBeforeLoad(order.vmm, ` (${stop.how})`)
      attached()
      return map(tracee, pidfd, files, order)
    } catch (error) {
      const ended = isEnding(order.vmm)
      signalPidfd(pidfd, 'SIGKILL')
      // Its parent learns of its end only when the tracer has.
      while (tracee.wait().kind !== 'ended');
      // Whatever was tried when it was gone is not what went wrong.
      if (ended && !isVarveError(error, 'MACHINE_EXITED'))
        throw new VarveError('MACHINE_EXITED', `process ${order.vmm.pid} ended while its memory was mapped`, {
          cause: error,
        })
      throw error
    }
  } finally {
    for (const fd of [pidfd, ...files]) closeSync(fd)
  }
}

const endedBeforeLoad = ({ pid }: ProcessIdentity, how = '', cause?: unknown): VarveError =>
  new VarveError('MACHINE_EXITED', `process ${pid} ended${how} before its load`, { cause })

function seize(vmm: ProcessIdentity): Tracee {
  try {
    return Tracee.seize(vmm)
  } catch (error) {
    throw isEnding(vmm) ? endedBeforeLoad(vmm, '', error) : error
  }
}

function openLayer({ path, storedPages }: LayerFile): number {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw pathError(error, `cannot open layer ${path}: ${(error as Error).message}`, { details: { path } })
  }
  const stat = fstatSync(fd)
  if (stat.isFile() && stat.size >= storedPages * pageSizeBytes) return fd
  closeSync(fd)
  throw new VarveError(
    'IMAGE_MISMATCH',
    `layer ${path} has ${stat.size} bytes, less than its ${storedPages} pages`,
  )
}

function map(tracee: Tracee, pidfd: number, files: readonly number[], order: MapOrder): MapReport {
  const { regions, stops } = awaitMemory(tracee, order.memoryFile, order.map.pages)
  const begin = performance.now()
  const injection = Injection.begin(tracee)
  const mappings = mapImage(injection, pidfd, files, order.map, regions)
  const mapped = performance.now()
  const { prefault, prefaultBudgetMs } = order
  const first = prefaultWithin(prefaultBudgetMs, injection, regions, prefault)
  const beside = first.left.length > 0
  const { thread, refused } = beside
    ? injection.runBeside(besideCalls(first.left, regions))
    : { thread: null, refused: null }
  const rest = thread === null ? first.left : []
  const refusedCalls = first.refusedCalls + prefaultNow(injection, regions, rest)
  const prefaulted = performance.now()
  injection.end()
  tracee.detach()
  const sum = (of: (step: PrefaultStep) => number, steps = prefault) =>
    steps.reduce((all, step) => all + of(step), 0)
  return {
    regions: regions.length,
    mappings,
    heldMs: performance.now() - begin,
    mapMs: mapped - begin,
    prefaultMs: prefaulted - mapped,
    prefault: {
      readOnlyPages: sum(({ readOnly }) => readOnly.pages),
      writtenPages: sum(({ written }) => written.pages),
      besidePages:
        thread === null ? 0 : sum(({ readOnly, written }) => readOnly.pages + written.pages, first.left),
      thread,
      heldBecause: refused === null ? null : `this Firecracker ${refused}`,
      refusedCalls,
    },
    stops,
  }
}

/** Gives the number of mappings made. */
function mapImage(
  injection: Injection,
  pidfd: number,
  files: readonly number[],
  map: ExtentMap,
  regions: readonly MappedRegion[],
): number {
  let mappings = 0
  // At least once: an image may be of zeros alone.
  for (let first = 0; first === 0 || first < files.length; first += maxPassedDescriptors) {
    const { numbers, toClose } = giveDescriptors(
      injection,
      pidfd,
      files.slice(first, first + maxPassedDescriptors),
    )
    const table = new SyscallTable()
    if (first === 0) addZeroCalls(table, map, regions)
    addExtentCalls(table, map, regions, { first, descriptors: numbers })
    for (const fd of toClose) table.add(systemCall.close, fd)
    injection.run(table)
    mappings += checkMapped(table)
  }
  return mappings
}

/** Every mapping is where it was to be, and nothing that was given stays open. */
function checkMapped(table: SyscallTable): number {
  let mappings = 0
  for (let index = 0; index < table.length; index++) {
    const number = table.number(index)
    const result = table.result(index)
    // Advice is no promise.
    if (number === systemCall.madvise) continue
    if (number === systemCall.mmap) mappings++
    if (result === (number === systemCall.mmap ? table.first(index) : 0)) continue
    const name = number === systemCall.mmap ? 'mmap' : 'close'
    const { args } = table.entry(index)
    throw new VarveError(
      'INJECTION_FAILED',
      `${name}(${args.join(', ')}) in the VMM gave ${result < 0 ? errnoName(-result) : result}; call ${index} of ${table.length}`,
    )
  }
  return mappings
}

/** As much as can be in that time, part by part; gives what is left. */
function prefaultWithin(
  budgetMs: number | null,
  injection: Injection,
  regions: readonly MappedRegion[],
  steps: readonly PrefaultStep[],
): { readonly refusedCalls: number; readonly left: readonly PrefaultStep[] } {
  if (budgetMs === null) return { refusedCalls: prefaultNow(injection, regions, steps), left: [] }
  if (budgetMs === 0) return { refusedCalls: 0, left: steps }
  const until = performance.now() + budgetMs
  const parts = steps.flatMap((step) => windowsOf(step).map((window) => window.step))
  let [done, refusedCalls] = [0, 0]
  while (done < parts.length && performance.now() < until)
    refusedCalls += prefaultNow(injection, regions, parts.slice(done, ++done))
  return { refusedCalls, left: parts.slice(done) }
}

/** Gives how many calls the kernel refused: that costs time later, and nothing else. */
function prefaultNow(
  injection: Injection,
  regions: readonly MappedRegion[],
  steps: readonly PrefaultStep[],
): number {
  const table = new SyscallTable()
  for (const step of steps) addPrefaultCalls(table, step, regions)
  if (table.length > 0) injection.run(table)
  let refused = 0
  for (let index = 0; index < table.length; index++) if (table.result(index) !== 0) refused++
  return refused
}
