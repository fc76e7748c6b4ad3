import type { Descriptor } from '../content/descriptors.js'
import type { Labels } from '../labels.js'
import type { ExtentMap } from '../layer/extent-map.js'
import type { ImageId, LayerFile } from '../layer/layer-types.js'
import type { Holder } from '../sys/holder.js'

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
