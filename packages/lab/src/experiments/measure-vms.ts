import {
  memoryUse,
  type PageServer,
  type PrefetchReport,
  type RestoreReport,
  type RestoreUsage,
  type RunningMachine,
} from 'varve'
import type { Measured } from './experiment.js'
import { deviceReadBytes, processCounters } from './process-counters.js'

/** A VM that runs, and what is known of how it came to. What `restoreMachine` gives is one. */
export interface StartedVm {
  readonly machine: RunningMachine
  readonly report?: RestoreReport
  readonly pageServer?: PageServer | undefined
  readonly prefetching?: Promise<PrefetchReport> | undefined
  usage?(): Promise<RestoreUsage>
}

/** One piece of work for a VM, in the parts that are timed. */
export interface VmWork<Guest extends AsyncDisposable> {
  /** How many at once. Default 1. */
  readonly clones?: number
  /** A file on the disk whose reads are counted. */
  readonly watched: string
  start(clone: number): Promise<StartedVm>
  attach(machine: RunningMachine): Guest
  /** Before the clock starts, in the VM itself: then its time and faults count from here. */
  warm?(guest: Guest): Promise<unknown>
  /** Resolves with the guest’s first answer. */
  first(guest: Guest): Promise<unknown>
  /** Whether its results are right. */
  work(guest: Guest): Promise<boolean>
  /** Not timed, after everything: whether what is in the guest’s memory is right. */
  check?(guest: Guest): Promise<boolean>
}

interface Clone {
  readonly correct: boolean
  readonly measures: Readonly<Record<string, number | null>>
  readonly vm: StartedVm
}

/** Times of the last clone, memory the mean of one, all else sums: docs/formats/experiment-rows-v1.md. */
const last = new Set(['restoredMs', 'firstMs', 'totalMs', 'workMs', 'againMs'])
const ofOne = new Set([
  'residentBytes',
  'proportionalBytes',
  'privateBytes',
  'fileBytes',
  'setReadOnlyPages',
  'setWrittenPages',
])

/** Starts VMs, has each do its work, and measures both. All are stopped at the end. */
export async function measureVms<Guest extends AsyncDisposable>(work: VmWork<Guest>): Promise<Measured> {
  const { clones = 1, watched } = work
  const opened: AsyncDisposable[] = []
  try {
    const readBefore = deviceReadBytes(watched)
    const start = performance.now()
    const ended = await Promise.allSettled(
      Array.from({ length: clones }, (_, clone) => oneClone(work, clone, start, opened)),
    )
    const readAfter = deviceReadBytes(watched)
    const done = ended.map((it) => {
      if (it.status === 'rejected') throw it.reason
      return it.value
    })
    // When all are there: then what they share is shared.
    const memory = done.map(({ vm }) => memoryOf(vm.machine.pid))
    return {
      correct: done.every(({ correct }) => correct),
      measures: {
        ...combined(done.map(({ measures }, clone) => ({ ...measures, ...memory[clone] }))),
        deviceReadBytes: readBefore === null || readAfter === null ? null : readAfter - readBefore,
      },
      phasesMs: done[0]?.vm.report?.phasesMs ?? {},
    }
  } finally {
    for (const resource of opened.reverse()) await resource[Symbol.asyncDispose]()
  }
}

async function oneClone<Guest extends AsyncDisposable>(
  { start: begin, attach, warm, first, work, check }: VmWork<Guest>,
  number: number,
  startAll: number,
  opened: AsyncDisposable[],
): Promise<Clone> {
  const vm = await begin(number)
  const { machine } = vm
  opened.push(machine)
  let start = startAll
  let restoredMs: number | null = performance.now() - start
  const guest = attach(machine)
  opened.push(guest)
  let before = { minorFaults: 0, majorFaults: 0, readBytes: 0 as number | null }
  if (warm !== undefined) {
    await warm(guest)
    before = processCounters(machine.pid)
    start = performance.now()
    restoredMs = null
  }
  await first(guest)
  const firstAt = performance.now()
  const right = await work(guest)
  const end = performance.now()
  const after = processCounters(machine.pid)
  const uffdFaults = (await vm.pageServer?.stats())?.faults ?? null
  const againStart = performance.now()
  const rightAgain = await work(guest)
  const againMs = performance.now() - againStart
  const prefetched = await vm.prefetching
  const usage = await vm.usage?.()
  const { minorFaults, majorFaults, readBytes } = after
  return {
    vm,
    correct: right && rightAgain && ((await check?.(guest)) ?? true),
    measures: {
      restoredMs,
      firstMs: firstAt - start,
      totalMs: end - start,
      workMs: end - firstAt,
      againMs,
      minorFaults: minorFaults - before.minorFaults,
      majorFaults: majorFaults - before.majorFaults,
      uffdFaults,
      readBytes: readBytes === null || before.readBytes === null ? null : readBytes - before.readBytes,
      prefetchedPages: prefetched?.pages ?? null,
      prefetchReadBytes: usage?.readBytes.prefetch ?? null,
      prefetchedUnusedPages: usage?.prefetched?.unused.atLeast ?? null,
      prefetchedUnusedAtMostPages: usage?.prefetched?.unused.atMost ?? null,
    },
  }
}

function memoryOf(pid: number): Record<string, number> {
  const use = memoryUse(pid)
  if (use === null) return {}
  const { residentBytes, proportionalBytes, privateCleanBytes, privateDirtyBytes, sharedBytes } = use
  return {
    residentBytes,
    proportionalBytes,
    privateBytes: privateDirtyBytes,
    // Clean pages that only it has mapped are a file's: another clone would share them.
    fileBytes: privateCleanBytes + sharedBytes,
  }
}

function combined(all: readonly Readonly<Record<string, number | null>>[]): Record<string, number | null> {
  const names = Object.keys(all[0] ?? {})
  return Object.fromEntries(
    names.map((name) => {
      const values = all.flatMap((it) => it[name] ?? [])
      if (values.length < all.length) return [name, null]
      if (last.has(name)) return [name, Math.max(...values)]
      const sum = values.reduce((total, value) => total + value, 0)
      return [name, ofOne.has(name) ? sum / values.length : sum]
    }),
  )
}
