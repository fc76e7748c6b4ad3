import { setTimeout as sleep } from 'node:timers/promises'
import type { LaunchedMachine, MemorySource } from '../machine/launched-machine.js'
import type { MapReport } from '../mapper/map-into-vmm.js'
import type { PageServer } from '../page-server/client/start-page-server.js'
import type { OpenSnapshot } from '../store/store-types.js'
import type { RecordTarget } from '../working-set/recording.js'
import type { WorkingSet } from '../working-set/working-set.js'

export const engineNames = ['file', 'paged', 'mapped'] as const
/** To be used only by those who know what they do; see docs/guides/engines.md. */
export const experimentalEngineNames = ['patched'] as const
export type EngineName = (typeof engineNames)[number] | (typeof experimentalEngineNames)[number]

/** When the pages of a working set are brought: before the guest runs, or alongside it. */
export const prefetchModes = ['before', 'concurrent'] as const
export type PrefetchMode = (typeof prefetchModes)[number]

export interface Prefetch {
  /** Of the image that is restored. */
  readonly workingSet: WorkingSet
  /** How long the guest waits for it at most: 0 in mode `concurrent`, Infinity in mode `before` without a budget. */
  readonly budgetMs: number
}

/** Waits for work, but not longer than that. */
export async function atMost(work: Promise<unknown>, budgetMs: number): Promise<void> {
  if (budgetMs === Number.POSITIVE_INFINITY) return void (await work)
  const timer = new AbortController()
  try {
    await Promise.race([work, sleep(budgetMs, undefined, { signal: timer.signal })])
  } finally {
    timer.abort()
  }
}

/** What a prefetch brought; `restoreUsage` tells how much of it was in vain. */
export interface PrefetchReport {
  /** Pages asked for, gaps that were read along included. */
  readonly pages: number
  readonly requests: number
  /** From its begin to its end, milliseconds. */
  readonly ms: number
  /** A hint that failed costs time, not the restore: why it ended early; null if it did not. */
  readonly failure: string | null
}

export type MemoryFiles = Pick<RecordTarget, 'files' | 'map'>

/** What an engine gets to prepare one restore. */
export interface EngineContext {
  readonly snapshot: OpenSnapshot
  /**
   * Launched, nothing loaded yet. It is being launched while the engine begins with what needs no VMM. Helpers that the engine
   * starts are named to it, so that they end with it.
   */
  readonly machine: Promise<LaunchedMachine>
  /** The runtime directory that the machine is in. */
  readonly runtime: string
  /** No read-ahead, because a recorder wants to see single pages. */
  readonly randomAccess: boolean
  readonly prefetch: Prefetch | null
  /** Whether the VM is to need no process of ours in the end, if the engine's VMs need one. */
  readonly graduate: boolean
  /** The CPU on which faults are answered and the guest's vCPUs run; undefined: any. */
  readonly faultCpu: number | undefined
  /** Times a named part of the restore for the report. */
  phase<T>(name: string, work: () => Promise<T>): Promise<T>
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

export interface EngineSetup {
  readonly memory: MemorySource
  /** What the VM's memory will come from: layers with a map of theirs, or one flat file without. */
  readonly memoryFiles: MemoryFiles
  /** In place of the snapshot's own state file. */
  readonly statePath?: string
  /**
   * Awaits the load, while the engine still works. If its own work failed, and therefore the load, the error is its
   * own. What it gives belongs into the report.
   */
  readonly besideLoad?: (load: Promise<unknown>) => Promise<MapReport | null>
  readonly pageServer?: PageServer
  /** Goes on alongside the guest in mode `concurrent`, has ended in mode `before`. Never rejects. */
  readonly prefetching?: Promise<PrefetchReport>
  /** Whether the guest must wait for `prefetching`, within its budget, which needs the load to get on. */
  readonly resumeAfterPrefetch?: boolean
}

/**
 * A way to put an image into a Firecracker process. `prepare` makes everything ready for `snapshot/load`; the caller
 * loads, and on any failure stops the machine, which ends the helpers that were named. Layers are never written to.
 */
export interface Engine {
  readonly name: EngineName
  /** Starts what takes long to start and serves any snapshot: called first, if this engine was asked for. */
  warmUp?(): void
  prepare(context: EngineContext): Promise<EngineSetup>
}
