import type { LaunchedMachine, MemorySource } from '../machine/launched-machine.js'
import type { MapReport } from '../mapper/map-into-vmm.js'
import type { PageServerStats } from '../page-server/client/page-server-client.js'
import type { PageServer } from '../page-server/client/start-page-server.js'
import type { WorkOptions } from '../store/snapshot-store.js'
import type { FrozenSnapshot, OpenSnapshot } from '../store/snapshot-types.js'
import type { EngineName } from './engine-names.js'
import type { MemoryFiles } from './memory-files.js'
import type { PrefetchReport, PrefetchWish } from './prefetch.js'
import type { RestoreNote } from './usage/restore-note.js'

/**
 * A way to put an image into a Firecracker process. `prepare` makes everything ready for `snapshot/load`; the
 * caller loads, and on any failure stops the machine. Layers are never written to.
 */
export interface Engine {
  readonly name: EngineName
  /** Whether it can bring the memory of a guest whose memory is huge pages. */
  readonly bringsHugePages?: boolean
  /** Starts what takes long to start and serves any snapshot: called first, if this engine was asked for. */
  warmUp?(): void
  /** Makes what all restores of a snapshot share: called once before several of them. May be repeated. */
  prepareShared?(snapshot: OpenSnapshot, options: WorkOptions): Promise<void>
  prepare(snapshot: OpenSnapshot, wishes: RestoreWishes): Promise<PreparedMemory>
  /**
   * The same for memory that stands frozen in a process; of the engine that can. Nothing can be fetched
   * ahead.
   */
  prepareFrozen?(snapshot: FrozenSnapshot, wishes: RestoreWishes): Promise<PreparedMemory>
  /** Starts what `prepareFrozen` needs of any memory. The caller awaits it before the memory is frozen. */
  warmUpFrozen?(runtime: string, options: Pick<WorkOptions, 'signal'>): Promise<void>
  /** What came of a restore by now, asked by any process. */
  usage(
    vmm: RestoredVmm,
    note: RestoreNote,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<EngineUsage>
}

/** What one restore wants of an engine, and gives to it. */
export interface RestoreWishes extends WorkOptions {
  /**
   * Launched, nothing loaded yet. It is being launched while the engine begins with what needs no VMM.
   */
  readonly machine: Promise<LaunchedMachine>
  /** The runtime directory that the machine is in. */
  readonly runtime: string
  /** No read-ahead, because a recorder is to see single pages. */
  readonly randomAccess: boolean
  readonly toPrefetch: PrefetchWish | null
  /** Whether the VM is to need no process of ours in the end, if the engine's VMs need one. */
  readonly graduate: boolean
  /** The CPU on which faults are answered and the guest's vCPUs run; undefined: any. */
  readonly faultCpu: number | undefined
  /** Times a named part of the restore for the report. */
  phase<T>(name: string, work: () => Promise<T>): Promise<T>
}

export interface PreparedMemory {
  /** What Firecracker is told to load its memory from. */
  readonly memory: MemorySource
  /** In place of the snapshot's own state file. */
  readonly statePath?: string
  /** What the VM's memory will come from: layers with a map of theirs, or one flat file without. */
  readonly files: MemoryFiles
  /**
   * Answers the VM's page faults, if a process of ours does. Page tables tell
   * nothing of what such a VM touched.
   */
  readonly pageServer?: PageServer
  /**
   * Work beside the load, which it awaits. Where its own work failed, and the load
   * for that, the error is its own.
   */
  readonly duringLoad?: (load: Promise<unknown>) => Promise<void>
  /** Called once the load was answered, before the guest of a paused load runs. */
  readonly afterLoad?: () => void
  readonly prefetch?: StartedPrefetch | undefined
  /** What belongs into the report of the restore. Called once all is loaded. */
  readonly report?: () => EngineReport
}

export interface StartedPrefetch {
  /** Goes on alongside the guest in mode `concurrent`, has ended in mode `before`. Never rejects. */
  readonly report: Promise<PrefetchReport>
  /**
   * Whether it needs the load to get on, so that the caller must wait for it, within its
   * budget, before the guest runs.
   */
  readonly resumeAfter: boolean
}

export interface EngineReport {
  /** What was mapped within the load. */
  readonly mapping: MapReport
}

export interface RestoredVmm {
  readonly pid: number
  readonly directory: string
}

export interface EngineUsage {
  /** What a page server answered; null if none serves the VM. */
  readonly pageServer: PageServerStats | null
  /** Bytes read from disks ahead of the guest; null if nothing was brought ahead, or while that goes on. */
  readonly prefetchReadBytes: number | null
  /** Pages brought ahead that were not touched; null if nothing was brought ahead. */
  readonly unused: UnusedPages | null
}

/**
 * Equal if page tables tell all. They do not tell whether a page was touched that was put there ahead (by the
 * `paged` and the `mapped` engine all), or that was mapped along with a neighbour that was read
 * (docs/notes/mincore-overcount.md). A page that the kernel took back counts as untouched.
 */
export interface UnusedPages {
  readonly atLeast: number
  readonly atMost: number
}
