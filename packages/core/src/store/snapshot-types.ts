import type { Descriptor } from '../content/descriptors.js'
import type { GuestAgentPlace } from '../guest-agent-place.js'
import type { Labels } from '../labels.js'
import type { ExtentMap } from '../layer/extent-map.js'
import type { ImageId, LayerFile } from '../layer/layer-types.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import type { Holder } from '../sys/holder.js'

/** The config of a snapshot, docs/formats/snapshot-v1.md. */
export interface SnapshotConfig {
  /** The snapshot's id. */
  readonly id: ImageId
  /** The id of its parent; null for a base. */
  readonly parent: ImageId | null
  /** UTC, ISO 8601 with milliseconds. */
  readonly createdAt: string
  /** Full: every page was written. Diff: the pages written since the parent. */
  readonly kind: 'full' | 'diff'
  /** Pages of guest memory. */
  readonly memoryPages: number
  /** The Firecracker that took it. */
  readonly firecracker: {
    /** Its release, e.g. "1.12.1". */
    readonly version: string
  }
  /** The host that it was taken on. */
  readonly host: {
    /** Model name of the CPU. */
    readonly cpu: string
    /** Release of the kernel. */
    readonly kernel: string
    /** Architecture, e.g. "x86_64". */
    readonly arch: string
    /** Size of the host's pages. */
    readonly pageSizeBytes: number
  }
  /** Firecracker's `GET /vm/config` at capture. */
  readonly machine: Readonly<Record<string, unknown>>
  /** The disks that belong to the snapshot. */
  readonly disks: readonly DiskConfig[]
  /** Where the guest has the agent of `@varve/guest`. Missing: it is not known to have one. */
  readonly guestAgent?: GuestAgentPlace
  /** Missing: none. */
  readonly labels?: Labels
}

/** A disk of a snapshot. */
export interface DiskConfig {
  /** Drive id. */
  readonly drive: string
  /** File name in the VMM's working directory (so that each clone has its own), or an absolute path. */
  readonly file: string
  /** Whether the guest cannot write to it. */
  readonly readOnly: boolean
  /** Size of the disk. */
  readonly sizeBytes: number
}

/** One snapshot as the index lists it. */
export interface SnapshotEntry {
  /** Its id. */
  readonly id: ImageId
  /** The id of its parent; null for a base. */
  readonly parent: ImageId | null
  /** Its names. */
  readonly tags: readonly string[]
  /** When it was taken: UTC, ISO 8601 with milliseconds. */
  readonly createdAt: string
  /** Its manifest. */
  readonly manifest: Descriptor
}

/** A snapshot with its manifest and config read and checked, without a look at the blobs. */
export interface SnapshotDescription {
  /** Its entry in the index. */
  readonly entry: SnapshotEntry
  /** Its config. */
  readonly config: SnapshotConfig
  /** Memory layers, base first. */
  readonly layers: readonly Descriptor[]
  /** The map of its image. */
  readonly extentMap: Descriptor
  /** Its state file. */
  readonly state: Descriptor
  /** Its disks. */
  readonly disks: readonly Descriptor[]
  /** The working sets that it keeps. */
  readonly workingSets: readonly {
    /** The set's name. */
    readonly name: string
    /** The set's file. */
    readonly descriptor: Descriptor
  }[]
  /** Entries of media types that this version does not know. */
  readonly others: readonly Descriptor[]
}

/** What a machine is loaded from. */
export interface LoadableSnapshot {
  /** Which image it is. */
  readonly entry: Pick<SnapshotEntry, 'id'>
  /** What was noted when it was captured. */
  readonly config: SnapshotConfig
  /** The memory layers as files, in the order of `map`'s sources. */
  readonly files: readonly LayerFile[]
  /** Where each page of the image comes from. */
  readonly map: ExtentMap
  /** The state file. */
  readonly statePath: string
  /** Its disks as files. */
  readonly diskFiles: readonly (DiskConfig & {
    /** The blob, which must not be written to. */
    readonly path: string
  })[]
  /** Whether any process has noted this finding about the state file's bytes. Takes tens of µs. */
  isNoted(finding: string): boolean
  /** Notes a finding about the state file's bytes for all processes; see `isNoted`. */
  note(finding: string): void
  /** Directory on the store's file system where clones keep private copies of disks. */
  readonly clonesDirectory: string
  /**
   * Leases the opened snapshot also to another process (a VMM that outlives this one) until that process
   * ends; leases that it has already stay. Returns the path of the lease: to end the lease earlier, remove
   * that file. Null: nothing of it is in a store yet.
   */
  leaseTo(other: Holder): Promise<string | null>
}

/**
 * The memory of a machine that stands frozen in a process, on its way to be a snapshot; as long as it is not
 * disposed of. The last of `files` is the memory of that process.
 */
export interface FrozenSnapshot extends LoadableSnapshot, AsyncDisposable {
  /** Where the pages lie that no layer has yet. */
  readonly frozen: FrozenSource
}

/**
 * A snapshot opened for a restore: its blobs are there, verified, and leased to this process until disposed.
 */
export interface OpenSnapshot extends AsyncDisposable, SnapshotDescription, LoadableSnapshot {
  /** Which snapshot it is. */
  readonly entry: SnapshotEntry
  /** What was noted when it was captured. */
  readonly config: SnapshotConfig
  /** The working sets that it keeps, as files. */
  readonly workingSetFiles: readonly {
    /** The set's name. */
    readonly name: string
    /** The file. */
    readonly path: string
  }[]
  /** Where a flat memory file of this image is, or where it must be made (atomically). */
  readonly flatPath: string
  /** A staging directory on the blobs' file system, for what is derived from them. */
  stage(): Promise<Staging>
  /** As of `LoadableSnapshot`; all of this one is in a store. */
  leaseTo(other: Holder): Promise<string>
}

/** Described and leased to this process until disposed. That its blobs are right was not looked at. */
export interface KeptSnapshot extends AsyncDisposable, SnapshotDescription {}

/**
 * A private directory within the store's file system; removed when disposed, and
 * by gc once its process is gone.
 */
export interface Staging extends AsyncDisposable {
  /** The directory (0700). */
  readonly directory: string
  /** As in `LoadableSnapshot`. */
  readonly clonesDirectory: string
}

/**
 * What a capture hands over. All paths lie in one staging directory; the files are
 * synced by `commit`, then moved.
 */
export interface SnapshotDraft {
  /** The config of the new snapshot. */
  readonly config: SnapshotConfig
  /**
   * The sealed layer of this snapshot; its `image` is the config's id, its `parent`
   * the config's parent (or null).
   */
  readonly layerPath: string
  /** The state file. */
  readonly statePath: string
  /** Its disks: new files, or blobs that are in the store already. */
  readonly disks: readonly (
    | {
        /** Drive id. */
        readonly drive: string
        /** The new file. */
        readonly path: string
      }
    | {
        /** Drive id. */
        readonly drive: string
        /** The blob. */
        readonly descriptor: Descriptor
      }
  )[]
  /** More files to keep with it. Default: none. */
  readonly extras?: readonly {
    /** What the file is, as a media type. */
    readonly mediaType: string
    /** The new file. */
    readonly path: string
    /** Facts about the file, by name. */
    readonly annotations?: Readonly<Record<string, string>>
  }[]
}
