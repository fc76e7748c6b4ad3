import type { Digest } from '../content/descriptors.js'
import type { ImageId } from '../layer/layer-types.js'

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
