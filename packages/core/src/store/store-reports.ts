import type { Digest } from '../content/descriptors.js'
import type { ImageId } from '../layer/layer-types.js'

/** What gc removed, or would remove. */
export interface GcReport {
  /** Blobs. */
  readonly removedBlobs: number
  /** Bytes of these blobs. */
  readonly removedBytes: number
  /** Ids of snapshots. */
  readonly removedSnapshots: readonly ImageId[]
  /** Staging directories of processes that have ended. */
  readonly removedStaging: number
  /** Flat files of snapshots. */
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
  /** Whether data is wrong or lost, or something is left over. */
  readonly severity: 'error' | 'garbage'
  /** As in docs/errors.md. */
  readonly code: string
  /** The file. */
  readonly path: string
  /** First wrong byte or the place of the wrong chunk, if it can be told. */
  readonly offset?: number
  /** What is wrong, as a sentence for people. */
  readonly message: string
  /** What to do about it. */
  readonly remedy: string
  /** Snapshots that cannot be restored because of it. */
  readonly snapshots: readonly ImageId[]
}

/** What fsck looked at, and what it found. */
export interface FsckReport {
  /** Blobs read. */
  readonly blobs: number
  /** Bytes read. */
  readonly bytes: number
  /** Snapshots checked. */
  readonly snapshots: number
  /** What was found; empty if the store is clean. */
  readonly findings: readonly FsckFinding[]
}

/** Pages of one memory layer in one snapshot, for `du` and `explain`. */
export interface LayerUsage {
  /** The layer's SHA-256. */
  readonly digest: Digest
  /** The image that the layer completes. */
  readonly image: ImageId
  /** How its file stores its pages. */
  readonly layout: 'flat' | 'packed'
  /** Bytes on disk (blocks), and snapshots that use it. */
  readonly diskBytes: number
  /** Snapshots that use the layer. */
  readonly usedBy: number
  /** Pages that the layer stores. */
  readonly dataPages: number
  /** Pages that the layer says are zero. */
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
  /** The id of the snapshot. */
  readonly snapshot: ImageId
  /**
   * `flat`: the memory as one file. `patched`: the file that the experimental engine of that name composes.
   */
  readonly kind: 'flat' | 'patched'
  /** The file. */
  readonly path: string
  /** Its size, holes included. */
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
  readonly others: {
    /** How many. */
    readonly blobs: number
    /** Sizes of the files, bytes. */
    readonly sizeBytes: number
    /** Bytes on disk (blocks). */
    readonly diskBytes: number
  }
  /**
   * Everything else in the directory: the index, leases, directories, and what gc would
   * remove. Null for one snapshot.
   */
  readonly restBytes: number | null
  /** The sum, which is what `du -s` says of the directory. Null for one snapshot. */
  readonly totalBytes: number | null
}
