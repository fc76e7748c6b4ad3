import type { Labels } from '../labels.js'
import type { Layer } from '../layer/layer-types.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { SnapshotEntry } from '../store/snapshot-types.js'
import type { LostLineage, ParentOptions } from './choose-parent.js'

/** Who takes the memory of a snapshot; `TakeOptions.mode` explains them. */
export type CaptureMode = 'auto' | 'live' | 'stop'

/** How the memory of a snapshot was taken. */
export interface CaptureWay {
  /** Whether Varve took it while the guest ran on, or Firecracker while the guest stood still. */
  readonly mode: 'live' | 'stop'
  /** Why, in a sentence, for people. */
  readonly because: string
  /** Null if it was not a live capture. */
  readonly frozen: {
    /** A copy of the pages, or a fork of the VMM. */
    readonly how: 'copy' | 'fork'
    /**
     * Pages taken. Null if they were not counted while the guest stood still, because the machine has no log
     * of written pages, or all of its memory was taken.
     */
    readonly pages: number | null
    /** How long an end of the helper process would have been the VM's end, too, milliseconds in sum. */
    readonly heldMs: number
  } | null
}

/** Options of `takeSnapshot`. */
export interface TakeOptions extends ParentOptions {
  /** The store that the snapshot goes into. */
  readonly store: SnapshotStore
  /**
   * Keeps what the machine has touched since it was restored as a working set of this name. For machines on a
   * memory file; RECORDER_UNRELIABLE for others, before anything is written.
   */
  readonly workingSet?: string | undefined
  /** What to note about the snapshot; `store.list` can filter by them. They never change. Default: none. */
  readonly labels?: Labels | undefined
  /** The tags for `seal`, if they are known already: an invalid one is refused before anything is written. */
  readonly tags?: readonly string[] | undefined
  /**
   * Who takes the memory. `live`: Varve, so that the guest stands still for milliseconds, even if it has
   * written much (docs/guides/live.md); HOST_UNSUPPORTED if that is not possible. `stop`: Firecracker, while
   * the guest stands still. `auto` (default): live if possible, but `stop` for a machine that is paused
   * already.
   */
  readonly mode?: CaptureMode | undefined
  /**
   * How memory is frozen in a live capture: `copy` of what was written (little of it: 16 MiB at most), or a
   * `fork` of the VMM. Default `auto`: what takes less time.
   */
  readonly freeze?: 'auto' | 'copy' | 'fork' | undefined
  /**
   * Of a live capture: how much memory the copies may take that writes of the guest cost until the snapshot
   * is sealed, bytes. Beyond it the capture fails (HOST_UNSUPPORTED) and loses nothing. Default: what the
   * host has available, less an eighth of its memory.
   */
  readonly mostCopiedBytes?: number | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/** Options of `TakenSnapshot.seal`. */
export interface SealSnapshotOptions {
  /**
   * Names to give it; a name that another snapshot has moves here. Default: those that `takeSnapshot` was
   * given.
   */
  readonly tags?: readonly string[] | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Called with sentences for people. */
  readonly onProgress?: ((message: string) => void) | undefined
}

/** What Firecracker has written and Varve has not indexed yet. The guest may run on. */
export interface TakenSnapshot extends AsyncDisposable {
  /** Full: every page. Diff: the pages written since the parent. */
  readonly type: 'Full' | 'Diff'
  /**
   * Why this is a new base although the machine has a history; null if it is not, or a base was asked for.
   */
  readonly lost: LostLineage | null
  /** How the memory was taken, and why so. */
  readonly way: CaptureWay
  /**
   * How long the guest stood still, from the request to pause to the end of the request to resume,
   * milliseconds; null if the machine was paused before.
   */
  readonly standstillMs: number | null
  /** How long state and memory took of it: written by Firecracker, or frozen, milliseconds. */
  readonly createMs: number
  /** How long the copies of writable disks took after that, milliseconds. */
  readonly disksMs: number
  /**
   * Indexes, checks, syncs and commits; only then is it a snapshot. If a tag is refused (INVALID_ARGUMENT),
   * nothing has changed: call again with another tag. After any other failure nothing half-made is left, and
   * the machine's next snapshot is a base.
   */
  seal(options?: SealSnapshotOptions): Promise<CapturedSnapshot>
}

/** A snapshot that is in the store, and how it came there. */
export interface CapturedSnapshot {
  /**
   * Leased to the VM until its next snapshot; if it has no tag, also to this process, until that ends, tags,
   * untags or removes it, or has captured 64 more without a tag.
   */
  readonly entry: SnapshotEntry
  /** The layer as it was sealed; its file has moved into the store since. */
  readonly layer: Layer
  /** Full: every page. Diff: the pages written since the parent. */
  readonly type: 'Full' | 'Diff'
  /** As in `TakenSnapshot`. */
  readonly lost: LostLineage | null
  /** As in `TakenSnapshot`. */
  readonly way: CaptureWay
  /** As in `TakenSnapshot`, milliseconds. */
  readonly standstillMs: number | null
  /** As in `TakenSnapshot`, milliseconds. */
  readonly createMs: number
  /** As in `TakenSnapshot`, milliseconds. */
  readonly disksMs: number
}
