import type { ExtentMap } from '../layer/extent-map.js'
import type { LayerFile } from '../layer/layer-types.js'
import type { PageSet } from '../memory/page-set.js'
import type { ProcessIdentity } from '../sys/proc.js'
import type { Json, WorkingSetGroup } from './working-set.js'

/** The recorders; docs/guides/working-sets.md says which fits when. */
export const recorderNames = ['mincore', 'pagemap', 'faults', 'diff'] as const
/** One of `recorderNames`. */
export type RecorderName = (typeof recorderNames)[number]

/** What the `diff` recorder needs of a machine. Every handle of one has it. */
export interface DiffSource {
  /** Whether written pages are logged. */
  readonly dirtyTracking: boolean
  /** How many snapshots were taken of it. */
  readonly snapshotsTaken: number
  /**
   * Has a Diff written and leaves the machine as it is; a running guest stands still for it. IMAGE_MISMATCH
   * if `snapshotsTaken` is no longer `ifTaken`.
   */
  takeDiff(options: {
    /** The new state file. */
    readonly statePath: string
    /** The new memory file. */
    readonly memoryPath: string
    /** `snapshotsTaken` as the caller knows it. */
    readonly ifTaken: number
    readonly signal?: AbortSignal | undefined
  }): Promise<unknown>
}

/** What a page server recorded of one period. Pages are of the image. */
export interface FaultTrace {
  /**
   * Faults on pages that were not there, in their order: the page, and when it was
   * read, µs since the period began.
   */
  readonly pages: Uint32Array
  /** When each of them was read, µs. */
  readonly timesUs: Uint32Array
  /** There were more; what is missing here is in `touched` all the same. */
  readonly truncated: boolean
  /**
   * Pages that come together: 512 if the guest's memory is huge pages. Then all pages of one are touched
   * together, and those of one that was written count as written if they do not hold the image's content.
   */
  readonly unitPages: number
  /** How long the period was. */
  readonly windowMs: number
  /** Every page that was not there yet and was touched within the period. */
  readonly touched: PageSet
  /** Every page that was written within the period. Null if writes were not recorded. */
  readonly written: PageSet | null
  /**
   * Pages that the kernel reported as written to, but that hold the image's content: only read (KVM asks like
   * that if it fetches pages asynchronously, docs/notes/write-protection.md), or written with what they held.
   * None of them is in `written`; null as above.
   */
  readonly unchanged: PageSet | null
}

/**
 * What a page server does after it gave what it recorded: go on with it, begin the
 * next period, or end the recording.
 */
export type AfterRecorded = 'go-on' | 'again' | 'stop'

/** What the `faults` recorder needs of a page server. */
export interface FaultSource {
  /**
   * Begins to record which pages are touched first, and with `writes` which are written first; called before
   * the load, from the first fault on. A page that is there already is not touched for the first time; with
   * `writes` it is protected, so that its next write is seen. RECORDER_UNRELIABLE while a recording is on.
   * `fromTheFirst`: no page was there yet.
   */
  record(options: {
    /** Also record first writes. */
    readonly writes: boolean
    readonly signal?: AbortSignal | undefined
  }): Promise<{ readonly fromTheFirst: boolean }>
  /**
   * What was recorded since the begin of the period. `next`: what then (default `go-on`). A period that
   * begins while the VM is paused begins with what a snapshot taken in that pause holds. RECORDER_UNRELIABLE
   * if nothing is recorded, or it was lost with the page server.
   */
  recorded(options?: {
    /** What to do after the answer. Default `go-on`. */
    readonly next?: AfterRecorded
    readonly signal?: AbortSignal | undefined
  }): Promise<FaultTrace>
}

/** A VM to record, and where its memory comes from. */
export interface RecordTarget {
  /** The VMM process. */
  readonly vmm: ProcessIdentity
  /**
   * The files that the VM's memory comes from: the layers of `map` in its order (base first), or, without a
   * map, the one flat memory file.
   */
  readonly files: readonly LayerFile[]
  /**
   * How pages of those files lie in the image. A stored page that the image does not
   * take from there does not count.
   */
  readonly map?: ExtentMap | undefined
  /** Needed by the `diff` recorder only. */
  readonly machine?: DiffSource | undefined
  /** Needed by the `faults` recorder only. */
  readonly faults?: FaultSource | undefined
}

/** Limits of a recording. */
export interface RecordOptions {
  /**
   * The recording ends itself after this long. Default 60,000; a longer one poisons the set. Infinity: never.
   */
  readonly maxMs?: number
  /**
   * The recording ends itself at the look that finds this many pages; it can have a few more
   * then. Default 1,048,576 (4 GiB).
   */
  readonly maxPages?: number
  /** The result carries a warning if it holds more than this share of the image. Default 0.5. */
  readonly warnShare?: number
  /** Ends the recording without a result: `stop` then throws INTERRUPTED. */
  readonly signal?: AbortSignal | undefined
}

/** What ended a recording: `stop`, or by itself its time, its number of pages, or the end of the VMM. */
export type RecordingEnd = 'stop' | 'time' | 'pages' | 'vmm'

/**
 * What a recorder learned: pages of the image, by the image's numbering. A hint, as exact as `exact` says.
 */
export interface RecordedPages {
  /** Who recorded it. */
  readonly recorder: RecorderName
  /** Every page that was touched; null if this recorder cannot tell. */
  readonly present: PageSet | null
  /**
   * Every page that was written; null if this recorder cannot tell. Part of `present`. It includes pages
   * written with the content that they had, except with `faults`, which then says that it is not exact.
   */
  readonly written: PageSet | null
  /**
   * `present` in the order of first touch, coarsely: disjoint, none empty, their times not falling. Empty if
   * the recorder does not know an order.
   */
  readonly groups: readonly WorkingSetGroup[]
  /**
   * Whether that set is neither too large nor too small. `pagemap` and `diff` count from the load of the VM,
   * whenever the recording began; pages that Firecracker itself reads and writes are among them. Written is
   * what the kernel saw written: a page that a guest with interrupts on had to wait for counts as written,
   * too (docs/notes/async-page-faults.md), so record with the page cache warm. `faults` judges such a page by
   * its content, and is exact only if none of them holds what the image holds.
   */
  readonly exact: {
    /** Whether `present` is. */
    readonly present: boolean
    /** Whether `written` is. */
    readonly written: boolean
  }
  /** When it began: milliseconds since 1970, UTC. */
  readonly recordedAtMs: number
  /** How long it took, whole milliseconds. */
  readonly windowMs: number
  /** What ended the recording. */
  readonly endedBy: RecordingEnd
  /** How often the recorder looked. */
  readonly scans: number
  /** Why the set may be wrong, in one or two sentences; null if there is no reason. */
  readonly warning: string | null
  /** How it was recorded, as JSON. */
  readonly notes: Readonly<Record<string, Json>>
}

/**
 * A recording under way. `stop` ends it and may be called once, also after it ended itself;
 * disposing ends it without a result, any number of times. An error met while recording, or an
 * abort, is thrown by the next call.
 */
export interface Recording extends AsyncDisposable {
  /** Who records. */
  readonly recorder: RecorderName
  /** Scans so far. */
  readonly scans: number
  /** Set once it ended itself. */
  readonly endedBy: RecordingEnd | undefined
  /**
   * Looks now: what was touched since the last look becomes groups of its own. Nothing
   * once the recording ended itself.
   */
  scan(): Promise<void>
  /** Looks a last time and gives what was recorded. */
  stop(): Promise<RecordedPages>
}

/**
 * A way to learn which pages of a VM were touched or written. `start` resolves when everything from
 * then on is seen, and throws RECORDER_UNRELIABLE if this recorder could not tell; what it takes is
 * released when the recording ends.
 */
export interface Recorder<Options extends RecordOptions = RecordOptions> {
  /** The recorder's name. */
  readonly name: RecorderName
  /** Begins to record; see above. */
  start(target: RecordTarget, options: Options): Promise<Recording>
}
