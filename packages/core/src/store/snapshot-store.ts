import type { Descriptor } from '../content/descriptors.js'
import type { Labels } from '../labels.js'
import type { Holder } from '../sys/holder.js'
import type { WorkingSet } from '../working-set/working-set.js'
import type {
  KeptSnapshot,
  OpenSnapshot,
  SnapshotDescription,
  SnapshotDraft,
  SnapshotEntry,
  Staging,
} from './snapshot-types.js'
import type { DerivedCopy, DiskUsage, FsckReport, GcReport, LayerUsage } from './store-reports.js'

/** Options of what may take long. */
export interface WorkOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** For things that may take longer than a second. */
  readonly onProgress?: ((message: string) => void) | undefined
}

/** Which snapshots to list. */
export interface ListSnapshotsOptions {
  /** Only snapshots that have all of these labels. */
  readonly labels?: Labels | undefined
}

/** Options of `commit`. */
export interface CommitOptions extends WorkOptions {
  /** Names to give the snapshot. Default: none. */
  readonly tags?: readonly string[] | undefined
  /**
   * Each gets a lease before the index names the snapshot, so that no gc comes in between. The
   * lease of `'this process'` ends with the process, if the process tags, untags or removes the
   * snapshot, or once it has 64 later ones.
   */
  readonly leaseTo?: readonly (Holder | 'this process')[] | undefined
}

/** A snapshot that is in the store now. */
export interface CommittedSnapshot {
  /** Its entry in the index. */
  readonly entry: SnapshotEntry
  /**
   * The files of the leases to other processes, in the order of `leaseTo`.
   * Removing such a file ends the lease.
   */
  readonly leases: readonly string[]
}

/**
 * A place that keeps snapshots. The local store is one; a registry or a bucket can be another
 * one and must pass the same conformance suite. References (`ref`) are a tag, an id, or the
 * beginning of an id (6 digits or more).
 */
export interface SnapshotStore {
  /** For messages. */
  readonly location: string
  /**
   * With `labels`, only snapshots that have all of these; then each config is read, and
   * damaged snapshots are left out.
   */
  list(options?: ListSnapshotsOptions): Promise<readonly SnapshotEntry[]>
  /** NOT_FOUND; INVALID_ARGUMENT if the beginning of an id fits several. */
  resolve(ref: string): Promise<SnapshotEntry>
  /** Reads a snapshot's manifest and config, and no blob of memory. NOT_FOUND, FORMAT_INVALID. */
  describe(ref: string): Promise<SnapshotDescription>
  /**
   * Verifies a snapshot's blobs, once per place, and leases it to this process until it is disposed of.
   * NOT_FOUND, CHECKSUM_MISMATCH.
   */
  open(ref: string, options?: WorkOptions): Promise<OpenSnapshot>
  /** For those who need a snapshot to stay, but read nothing of it now: the parent of a capture. */
  keep(ref: string, options?: WorkOptions): Promise<KeptSnapshot>
  /** A new private directory on the store's file system. */
  stage(): Promise<Staging>
  /** All or nothing. The parent must be in the store (IMAGE_MISMATCH). Tags move from where they were. */
  commit(draft: SnapshotDraft, options?: CommitOptions): Promise<CommittedSnapshot>
  /** Gives a snapshot the name `tag`; a snapshot that has it loses it. NOT_FOUND, INVALID_ARGUMENT. */
  tag(ref: string, tag: string): Promise<SnapshotEntry>
  /**
   * Removes one tag. The snapshot keeps its other tags; one that has no tag left stays until gc. NOT_FOUND if
   * no snapshot has the tag: ids are not accepted.
   */
  removeTag(tag: string): Promise<SnapshotEntry>
  /** Removes all tags of a snapshot. Its blobs go with the next gc, unless others or a lease need them. */
  removeSnapshot(ref: string): Promise<SnapshotEntry>
  /** Removes what no tag and no lease keeps, and what ended processes left. */
  gc(
    options?: WorkOptions & {
      /** Only tell what would be removed. Default false. */
      readonly dryRun?: boolean
    },
  ): Promise<GcReport>
  /** Reads and checks everything in the store. A damaged file is a finding, not an error. */
  fsck(options?: WorkOptions): Promise<FsckReport>
  /** Per layer of one snapshot, or of the whole store. `deep` reads every data page. */
  usage(
    options?: WorkOptions & {
      /** Only the layers of this snapshot. */
      readonly ref?: string | undefined
      /** Read every data page, to count duplicates and changes. Default false. */
      readonly deep?: boolean
    },
  ): Promise<readonly LayerUsage[]>
  /** The flat copies that restores left, of one snapshot or of the whole store. */
  derivedCopies(options?: {
    /** Only those of this snapshot. */
    readonly ref?: string | undefined
  }): Promise<readonly DerivedCopy[]>
  /** Bytes on disk of one snapshot's blobs, or of the whole store. */
  diskUsage(
    options?: WorkOptions & {
      /** Only what this snapshot uses. */
      readonly ref?: string | undefined
    },
  ): Promise<DiskUsage>
  /**
   * Gives a snapshot other layers for the same image (after squash, pack or rebase). `layers` are descriptors
   * already in the store or sealed staged files, base first; the extent map is computed from them.
   */
  relayer(
    ref: string,
    layers: readonly (
      | Descriptor
      | {
          /** A sealed file in a staging directory of this store. */
          readonly path: string
        }
    )[],
    options?: WorkOptions,
  ): Promise<SnapshotEntry>
  /**
   * Keeps a working set with a snapshot, under a name; one of that name is replaced. IMAGE_MISMATCH if it
   * belongs to another image (`translateWorkingSet` makes it fit a child). `ref` is the snapshot, `name` the
   * name.
   */
  saveWorkingSet(
    ref: string,
    name: string,
    workingSet: WorkingSet,
    options?: WorkOptions,
  ): Promise<SnapshotEntry>
  /**
   * Reads a working set that a snapshot keeps, by `REF:NAME` or by reference and name. It is of that
   * snapshot's image; `fitWorkingSet` makes it fit a child. NOT_FOUND, INVALID_ARGUMENT (not REF:NAME),
   * CHECKSUM_MISMATCH. `refAndName` is `REF:NAME`.
   */
  readWorkingSet(refAndName: string, options?: WorkOptions): Promise<WorkingSet>
  readWorkingSet(ref: string, name: string, options?: WorkOptions): Promise<WorkingSet>
  /** Removes the working set `name` from a snapshot. NOT_FOUND. */
  removeWorkingSet(ref: string, name: string, options?: WorkOptions): Promise<SnapshotEntry>
  /**
   * One file with these snapshots. With `workingSet`, the pages of that set come early in it, in the order
   * of first touch, as a layer of their own: a restore could begin before the rest has come. It is a name
   * that each of the snapshots has, or `REF:NAME` of a set of an image that each of them is or descends
   * from. `refs` name the snapshots, `path` is the new file.
   */
  exportTo(
    refs: readonly string[],
    path: string,
    options?: WorkOptions & {
      /** The set whose pages come early. Default: none do. */
      readonly workingSet?: string | undefined
    },
  ): Promise<{ readonly path: string; readonly bytes: number }>
  /** Adds the snapshots of a file that `exportTo` wrote. */
  importFrom(path: string, options?: WorkOptions): Promise<readonly SnapshotEntry[]>
}
