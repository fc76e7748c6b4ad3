import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { BlobSource } from '../content/blob-source.js'
import type { Descriptor, Digest } from '../content/descriptors.js'
import type { RefSource } from '../content/ref-source.js'
import type { WorkingSet } from '../working-set/working-set.js'
import { addTag, removeAllTags, removeTag } from './change-tags.js'
import { collectGarbage } from './collect-garbage.js'
import { commitSnapshot } from './commit-snapshot.js'
import { createLayout, openLayout } from './create-store.js'
import { measureCopies } from './derived-copies.js'
import { measureDisk } from './disk-usage.js'
import { exportSnapshots } from './export-store.js'
import { checkStore } from './fsck.js'
import { adoptSnapshot, importSnapshots } from './import-store.js'
import { removeWorkingSet, saveWorkingSet } from './kept-working-sets.js'
import { listSnapshots } from './list-snapshots.js'
import { LocalBlobs } from './local-blobs.js'
import { LocalRefs } from './local-refs.js'
import { keepSnapshot, openSnapshot } from './open-snapshot.js'
import { readKeptWorkingSet, workingSetReference } from './read-kept-working-set.js'
import { relayerSnapshot } from './relayer-snapshot.js'
import { Repository } from './repository.js'
import type {
  CommitOptions,
  CommittedSnapshot,
  ListSnapshotsOptions,
  SnapshotStore,
  WorkOptions,
} from './snapshot-store.js'
import type {
  KeptSnapshot,
  OpenSnapshot,
  SnapshotDescription,
  SnapshotDraft,
  SnapshotEntry,
  Staging,
} from './snapshot-types.js'
import { storePaths } from './store-paths.js'
import type { DerivedCopy, DiskUsage, FsckReport, GcReport, LayerUsage } from './store-reports.js'
import { measureUsage } from './usage.js'

/** $VARVE_STORE, else $XDG_DATA_HOME/varve/store, else ~/.local/share/varve/store. */
export function defaultStoreDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_STORE) return resolve(env.VARVE_STORE)
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'varve', 'store')
}

/**
 * Opens the store in a directory; `create` makes one if there is nothing yet. NOT_FOUND,
 * FORMAT_INVALID (something else is there), FORMAT_UNSUPPORTED, PATH_INVALID (a directory of it is a
 * link, another user's, or open to others).
 */
export async function openLocalStore(
  directory: string,
  {
    create = false,
  }: {
    /** Make the store if there is none. Default false: NOT_FOUND. */
    readonly create?: boolean
  } = {},
): Promise<LocalStore> {
  const paths = storePaths(resolve(directory))
  if (create) await createLayout(paths)
  await openLayout(paths)
  return new LocalStore(new Repository(paths))
}

/**
 * A snapshot store in a directory: an OCI image layout, docs/formats/store-v1.md. Each verb is a function
 * over the repository below.
 */
export class LocalStore implements SnapshotStore {
  /** Files, index and lock of the store, for tools that know its format. */
  readonly repository: Repository

  /** The blobs alone, as of any place that keeps snapshots. */
  readonly blobs: BlobSource
  /** The tags alone, likewise. */
  readonly refs: RefSource

  constructor(repository: Repository) {
    this.repository = repository
    this.blobs = new LocalBlobs(repository)
    this.refs = new LocalRefs(repository)
  }

  get location(): string {
    return this.repository.location
  }

  list(options: ListSnapshotsOptions = {}): Promise<readonly SnapshotEntry[]> {
    return listSnapshots(this.repository, options)
  }

  resolve(ref: string): Promise<SnapshotEntry> {
    return this.repository.resolve(ref)
  }

  describe(ref: string): Promise<SnapshotDescription> {
    return this.repository.describe(ref)
  }

  stage(): Promise<Staging> {
    return this.repository.stage()
  }

  open(ref: string, options: WorkOptions = {}): Promise<OpenSnapshot> {
    return openSnapshot(this.repository, ref, options)
  }

  keep(ref: string, options: WorkOptions = {}): Promise<KeptSnapshot> {
    return keepSnapshot(this.repository, ref, options)
  }

  commit(draft: SnapshotDraft, options: CommitOptions = {}): Promise<CommittedSnapshot> {
    return commitSnapshot(this.repository, draft, options)
  }

  relayer(
    ref: string,
    layers: readonly (Descriptor | { readonly path: string })[],
    options: WorkOptions = {},
  ): Promise<SnapshotEntry> {
    return relayerSnapshot(this.repository, ref, layers, options)
  }

  saveWorkingSet(
    ref: string,
    name: string,
    workingSet: WorkingSet,
    options: WorkOptions = {},
  ): Promise<SnapshotEntry> {
    return saveWorkingSet(this.repository, ref, name, workingSet, options)
  }

  readWorkingSet(refAndName: string, options?: WorkOptions): Promise<WorkingSet>
  readWorkingSet(ref: string, name: string, options?: WorkOptions): Promise<WorkingSet>
  async readWorkingSet(
    ref: string,
    nameOrOptions?: string | WorkOptions,
    options: WorkOptions = {},
  ): Promise<WorkingSet> {
    if (typeof nameOrOptions === 'string')
      return readKeptWorkingSet(this.repository, { ref, name: nameOrOptions }, options)
    return readKeptWorkingSet(this.repository, workingSetReference(ref), nameOrOptions ?? {})
  }

  removeWorkingSet(ref: string, name: string, options: WorkOptions = {}): Promise<SnapshotEntry> {
    return removeWorkingSet(this.repository, ref, name, options)
  }

  tag(ref: string, tag: string): Promise<SnapshotEntry> {
    return addTag(this.repository, ref, tag)
  }

  removeTag(tag: string): Promise<SnapshotEntry> {
    return removeTag(this.repository, tag)
  }

  removeSnapshot(ref: string): Promise<SnapshotEntry> {
    return removeAllTags(this.repository, ref)
  }

  gc(options: WorkOptions & { readonly dryRun?: boolean } = {}): Promise<GcReport> {
    return collectGarbage(this.repository, options)
  }

  fsck(options: WorkOptions = {}): Promise<FsckReport> {
    return checkStore(this.repository, options)
  }

  usage(
    options: WorkOptions & { readonly ref?: string | undefined; readonly deep?: boolean } = {},
  ): Promise<readonly LayerUsage[]> {
    return measureUsage(this.repository, options)
  }

  derivedCopies(options: { readonly ref?: string | undefined } = {}): Promise<readonly DerivedCopy[]> {
    return measureCopies(this.repository, options)
  }

  diskUsage(options: WorkOptions & { readonly ref?: string | undefined } = {}): Promise<DiskUsage> {
    return measureDisk(this.repository, options)
  }

  exportTo(
    refs: readonly string[],
    path: string,
    options: WorkOptions & { readonly workingSet?: string | undefined } = {},
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    return exportSnapshots(this.repository, refs, path, options)
  }

  importFrom(path: string, options: WorkOptions = {}): Promise<readonly SnapshotEntry[]> {
    return importSnapshots(this.repository, path, options)
  }

  /**
   * Adds a snapshot whose blobs have been put into `blobs` one by one, from another place: with the same
   * checks as `importFrom`. `manifest` is its manifest, `tags` are names for it; a tag that another snapshot
   * has stays there. A snapshot that the store has already stays as it is, and is given the manifest's
   * working sets: each replaces the one that has its name. NOT_FOUND if a blob is missing: a gc removes blobs
   * that nothing names.
   */
  adopt(manifest: Digest, tags: readonly string[], options: WorkOptions = {}): Promise<SnapshotEntry> {
    return adoptSnapshot(this.repository, manifest, tags, options)
  }
}
