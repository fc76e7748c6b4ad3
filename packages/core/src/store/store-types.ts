import type { Descriptor, Digest } from '../content/descriptors.js'
import type { Labels } from '../labels.js'
import type { ExtentMap } from '../layer/extent-map.js'
import type { ImageId, LayerFile } from '../layer/layer-types.js'
import type { Holder } from '../sys/holder.js'
import type { WorkingSet } from '../working-set/working-set.js'

/** The config of a snapshot, docs/formats/snapshot-v1.md. */
export interface SnapshotConfig {
  readonly id: ImageId
  readonly parent: ImageId | null
  /** UTC, ISO 8601 with milliseconds. */
  readonly createdAt: string
  readonly kind: 'full' | 'diff'
  readonly memoryPages: number
  readonly firecracker: { readonly version: string }
  readonly host: {
    readonly cpu: string
    readonly kernel: string
    readonly arch: string
    readonly pageSizeBytes: number
  }
  /** Firecracker's `GET /vm/config` at capture. */
  readonly machine: Readonly<Record<string, unknown>>
  readonly disks: readonly DiskConfig[]
  /** Missing: none. */
  readonly labels?: Labels
}

export interface DiskConfig {
  readonly drive: string
  /** File name in the VMM's working directory (so that each clone has its own), or an absolute path. */
  readonly file: string
  readonly readOnly: boolean
  readonly sizeBytes: number
}

/** One snapshot as the index lists it. */
export interface SnapshotEntry {
  readonly id: ImageId
  readonly parent: ImageId | null
  readonly tags: readonly string[]
  readonly createdAt: string
  readonly manifest: Descriptor
}

/** A snapshot with its manifest and config read and checked, without a look at the blobs. */
export interface SnapshotDescription {
  readonly entry: SnapshotEntry
  readonly config: SnapshotConfig
  /** Memory layers, base first. */
  readonly layers: readonly Descriptor[]
  readonly extentMap: Descriptor
  readonly state: Descriptor
  readonly disks: readonly Descriptor[]
  readonly workingSets: readonly { readonly name: string; readonly descriptor: Descriptor }[]
  /** Entries of media types that this version does not know. */
  readonly others: readonly Descriptor[]
}

/**
 * A snapshot opened for a restore: its blobs are there, verified, and leased to this process until disposed.
 */
export interface OpenSnapshot extends AsyncDisposable, SnapshotDescription {
  /** The memory layers as files, in the order of `map`'s sources. */
  readonly files: readonly LayerFile[]
  readonly map: ExtentMap
  readonly statePath: string
  readonly diskFiles: readonly (DiskConfig & { readonly path: string })[]
  readonly workingSetFiles: readonly { readonly name: string; readonly path: string }[]
  /** Where a flat memory file of this image is, or where it must be made (atomically). */
  readonly flatPath: string
  /** A staging directory on the blobs' file system, for what is derived from them. */
  stage(): Promise<Staging>
  /** Whether any process has noted this finding about the state file's bytes. Takes tens of µs. */
  isNoted(finding: string): boolean
  note(finding: string): void
  /** Directory on the store's file system where clones keep private copies of disks. */
  readonly clonesDirectory: string
  /**
   * Leases the opened snapshot also to another process (a VMM that outlives this one) until that process
   * ends; leases that it has already stay. Returns the path of the lease: to end the lease earlier, remove
   * that file.
   */
  leaseTo(other: Holder): Promise<string>
}

/** Described and leased to this process until disposed. That its blobs are right was not looked at. */
export interface KeptSnapshot extends AsyncDisposable, SnapshotDescription {}

/**
 * A private directory within the store's file system; removed when disposed, and
 * by gc once its process is gone.
 */
export interface Staging extends AsyncDisposable {
  readonly directory: string
}

/**
 * What a capture hands over. All paths lie in one staging directory; the files are
 * synced by `commit`, then moved.
 */
export interface SnapshotDraft {
  readonly config: SnapshotConfig
  /**
   * The sealed layer of this snapshot; its `image` is the config's id, its `parent`
   * the config's parent (or null).
   */
  readonly layerPath: string
  readonly statePath: string
  readonly disks: readonly (
    | { readonly drive: string; readonly path: string }
    | { readonly drive: string; readonly descriptor: Descriptor }
  )[]
  readonly extras?: readonly {
    readonly mediaType: string
    readonly path: string
    readonly annotations?: Readonly<Record<string, string>>
  }[]
}

export interface WorkOptions {
  readonly signal?: AbortSignal | undefined
  /** For things that may take longer than a second. */
  readonly onProgress?: ((message: string) => void) | undefined
}

export interface ListSnapshotsOptions {
  readonly labels?: Labels | undefined
}

export interface CommitOptions extends WorkOptions {
  readonly tags?: readonly string[] | undefined
  /**
   * Each gets a lease before the index names the snapshot, so that no gc comes in between. The
   * lease of `'this process'` ends with the process, if the process tags, untags or removes the
   * snapshot, or once it has 64 later ones.
   */
  readonly leaseTo?: readonly (Holder | 'this process')[] | undefined
}

export interface CommittedSnapshot {
  readonly entry: SnapshotEntry
  /**
   * The files of the leases to other processes, in the order of `leaseTo`.
   * Removing such a file ends the lease.
   */
  readonly leases: readonly string[]
}

export interface GcReport {
  readonly removedBlobs: number
  readonly removedBytes: number
  readonly removedSnapshots: readonly ImageId[]
  readonly removedStaging: number
  readonly removedFlat: number
  /** Leases of processes that have ended. */
  readonly removedLeases: number
  /** Copies of disks whose machines have ended. */
  readonly removedClones: number
  /**
   * Directories with copies of disks that do not say which machine they belong to, as older versions made
   * them: they stay. Remove them if no machine is running whose disks they are.
   */
  readonly unknownClones: readonly string[]
  /** Blobs that no tag keeps but a lease does. */
  readonly leasedBlobs: number
}

/** Something that fsck found. `error`: data is wrong or lost. `garbage`: gc removes it. */
export interface FsckFinding {
  readonly severity: 'error' | 'garbage'
  /** As in docs/errors.md. */
  readonly code: string
  readonly path: string
  /** First wrong byte or the place of the wrong chunk, if it can be told. */
  readonly offset?: number
  readonly message: string
  /** What to do about it. */
  readonly remedy: string
  /** Snapshots that cannot be restored because of it. */
  readonly snapshots: readonly ImageId[]
}

export interface FsckReport {
  readonly blobs: number
  readonly bytes: number
  readonly snapshots: number
  readonly findings: readonly FsckFinding[]
}

/** Pages of one memory layer in one snapshot, for `du` and `explain`. */
export interface LayerUsage {
  readonly digest: Digest
  readonly image: ImageId
  readonly layout: 'flat' | 'packed'
  /** Bytes on disk (blocks), and snapshots that use it. */
  readonly diskBytes: number
  readonly usedBy: number
  readonly dataPages: number
  readonly zeroPages: number
  /** Absent: taken over from the parent. */
  readonly inheritedPages: number
  /**
   * Data pages whose content is in the store a second time. Null unless asked for: every data page is read.
   */
  readonly duplicatePages: number | null
  /**
   * Data and zero pages that differ from the parent's. Null unless asked for, and if
   * the parent is not in the store.
   */
  readonly changedPages: number | null
}

/**
 * A file that a store keeps in addition to blobs, so that restores of a snapshot are fast. It can be made
 * again at any time.
 */
export interface DerivedCopy {
  readonly snapshot: ImageId
  /**
   * `flat`: the memory as one file. `patched`: the file that the experimental engine of that name composes.
   */
  readonly kind: 'flat' | 'patched'
  readonly path: string
  readonly sizeBytes: number
  /** Bytes on disk (blocks); on XFS and Btrfs they may be shared with layers. */
  readonly diskBytes: number
}

/**
 * What the file system says of a store, or of what one snapshot has in it: blocks, so that
 * holes of sparse files do not count.
 */
export interface DiskUsage {
  /** Memory layers. */
  readonly layersBytes: number
  /** Flat copies. */
  readonly copiesBytes: number
  /**
   * All other blobs of snapshots: disks, states, extent maps, working sets, manifests;
   * `sizeBytes` counts their holes, too.
   */
  readonly others: { readonly blobs: number; readonly sizeBytes: number; readonly diskBytes: number }
  /**
   * Everything else in the directory: the index, leases, directories, and what gc would
   * remove. Null for one snapshot.
   */
  readonly restBytes: number | null
  /** The sum, which is what `du -s` says of the directory. Null for one snapshot. */
  readonly totalBytes: number | null
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
  describe(ref: string): Promise<SnapshotDescription>
  open(ref: string, options?: WorkOptions): Promise<OpenSnapshot>
  /** For those who need a snapshot to stay, but read nothing of it now: the parent of a capture. */
  keep(ref: string, options?: WorkOptions): Promise<KeptSnapshot>
  stage(): Promise<Staging>
  /** All or nothing. The parent must be in the store (IMAGE_MISMATCH). Tags move from where they were. */
  commit(draft: SnapshotDraft, options?: CommitOptions): Promise<CommittedSnapshot>
  tag(ref: string, tag: string): Promise<SnapshotEntry>
  /**
   * Removes one tag. The snapshot keeps its other tags; one that has no tag left stays until gc. NOT_FOUND if
   * no snapshot has the tag: ids are not accepted.
   */
  removeTag(tag: string): Promise<SnapshotEntry>
  /** Removes all tags of a snapshot. Its blobs go with the next gc, unless others or a lease need them. */
  removeSnapshot(ref: string): Promise<SnapshotEntry>
  gc(options?: WorkOptions & { readonly dryRun?: boolean }): Promise<GcReport>
  fsck(options?: WorkOptions): Promise<FsckReport>
  /** Per layer of one snapshot, or of the whole store. `deep` reads every data page. */
  usage(
    options?: WorkOptions & { readonly ref?: string; readonly deep?: boolean },
  ): Promise<readonly LayerUsage[]>
  /** The flat copies that restores left, of one snapshot or of the whole store. */
  derivedCopies(options?: { readonly ref?: string }): Promise<readonly DerivedCopy[]>
  /** Bytes on disk of one snapshot's blobs, or of the whole store. */
  diskUsage(options?: WorkOptions & { readonly ref?: string }): Promise<DiskUsage>
  /**
   * Gives a snapshot other layers for the same image (after squash, pack or rebase). `layers` are descriptors
   * already in the store or sealed staged files, base first; the extent map is computed from them.
   */
  relayer(
    ref: string,
    layers: readonly (Descriptor | { readonly path: string })[],
    options?: WorkOptions,
  ): Promise<SnapshotEntry>
  /**
   * Keeps a working set with a snapshot, under a name; one of that name is replaced. IMAGE_MISMATCH if it
   * belongs to another image (`translateWorkingSet` makes it fit a child).
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
   * CHECKSUM_MISMATCH.
   */
  readWorkingSet(refAndName: string, options?: WorkOptions): Promise<WorkingSet>
  readWorkingSet(ref: string, name: string, options?: WorkOptions): Promise<WorkingSet>
  removeWorkingSet(ref: string, name: string, options?: WorkOptions): Promise<SnapshotEntry>
  /**
   * One file with these snapshots. With `workingSet`, the pages of that set come early in it, in the order
   * of first touch, as a layer of their own: a restore could begin before the rest has come. It is a name
   * that each of the snapshots has, or `REF:NAME` of a set of an image that each of them is or descends
   * from.
   */
  exportTo(
    refs: readonly string[],
    path: string,
    options?: WorkOptions & { readonly workingSet?: string | undefined },
  ): Promise<{ readonly path: string; readonly bytes: number }>
  importFrom(path: string, options?: WorkOptions): Promise<readonly SnapshotEntry[]>
}
