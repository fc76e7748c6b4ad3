import {
  assertTag,
  type Descriptor,
  type Digest,
  type LocalStore,
  referenceTo,
  VarveError,
  type WorkOptions,
} from 'varve'
import {
  entriesOf,
  hashBytes,
  manifestFromJson,
  manifestToJson,
  maxSmallBytes,
  mediaTypes,
} from 'varve/testing'
import { emptyConfig } from '../place/artifact.js'
import { readSmallBlob } from '../place/read-small-blob.js'
import type { RemotePlace } from '../place/remote-place.js'
import { copyBlob } from './copy-blob.js'
import { inParallel } from './in-parallel.js'
import { type Moved, Progress } from './progress.js'
import { remoteWorkingSets, workingSetArtifact } from './remote-working-sets.js'

/** Blobs on their way at the same time. */
const atOnce = 3

/** Options of `pushSnapshot`. */
export interface PushOptions extends WorkOptions {
  /** The reference to set at the place. Default: none; the snapshot is found there by its id. */
  readonly tag?: string | undefined
  /** Let the reference mean this snapshot also if it means another one now. Default false: ALREADY_EXISTS. */
  readonly replace?: boolean
  /** Send the snapshot's working sets, too. Default true. */
  readonly workingSets?: boolean
}

/** What a push did. */
export interface PushReport extends Moved {
  /** The snapshot's id. */
  readonly id: string
  /** The digest of its manifest at the place. */
  readonly manifest: Digest
  /** The reference that means it now; null if none was asked for. */
  readonly tag: string | null
}

/**
 * Sends a snapshot to a place: blobs, base first, that are not there; then the manifest, working sets, and
 * last the reference. If it is interrupted, a repetition sends only what is missing. ALREADY_EXISTS if the
 * reference means another snapshot, or another writer changed it meanwhile: then all but the reference is
 * there.
 * @param store where the snapshot is
 * @param ref the snapshot: a tag, an id, or the beginning of an id
 * @param place where it goes
 */
export async function pushSnapshot(
  store: LocalStore,
  ref: string,
  place: RemotePlace,
  options: PushOptions = {},
): Promise<PushReport> {
  const { tag, replace = false, workingSets = true, signal, onProgress } = options
  if (tag !== undefined) assertTag(tag)
  await using kept = await store.keep(ref, { signal })
  const { id, parent, createdAt, manifest: local } = kept.entry
  const path = `manifest ${local.digest} of ${store.location}`
  const full = manifestFromJson(await readSmallBlob(store.blobs, local, maxSmallBytes, { signal }), path)
  const manifest = { ...full, workingSets: [] }
  const bytes = manifestToJson(manifest)
  const digest = hashBytes(bytes)
  const target = referenceTo({
    id,
    parent,
    createdAt,
    manifest: { mediaType: mediaTypes.manifest, digest, size: bytes.length },
  })
  const before = tag === undefined ? undefined : await place.refs.read(tag, { signal })
  if (tag !== undefined && before !== undefined && before.digest !== digest && !replace)
    throw taken(place, tag, 'means another snapshot')

  const blobs = once([...entriesOf(manifest), manifest.config, ...(workingSets ? full.workingSets : [])])
  const progress = new Progress('sent', blobs, onProgress)
  await inParallel(blobs, atOnce, async (blob) => {
    const sent = await copyBlob(store.blobs, place.blobs, blob, { signal, onBytes: progress.add })
    progress.settle(blob.size, sent)
  })
  await place.artifacts.putSnapshot(bytes, id, { signal })
  if (workingSets) await pushWorkingSets(place, full.workingSets, target, { signal })
  if (tag !== undefined && before?.digest !== digest)
    if (!(await place.refs.compareAndSet(tag, before?.digest ?? null, target, { signal })))
      throw taken(place, tag, 'was changed by another writer meanwhile')
  return { id, manifest: digest, tag: tag ?? null, ...progress.moved }
}

/** Those that the place does not have under their name. */
async function pushWorkingSets(
  place: RemotePlace,
  sets: readonly Descriptor[],
  subject: Descriptor,
  { signal }: WorkOptions,
): Promise<void> {
  if (sets.length === 0) return
  const there = await remoteWorkingSets(place, subject, { signal })
  const missing = sets.filter((set) => !there.some(({ descriptor }) => descriptor.digest === set.digest))
  if (missing.length > 0) await place.blobs.put(emptyConfig.blob, [emptyConfig.bytes], { signal })
  for (const set of missing) {
    const artifact = workingSetArtifact(set, subject, new Date().toISOString())
    await place.artifacts.putReferrer(subject, artifact, { signal })
  }
}

/** Two layers, or a layer and a disk, may be one blob. */
const once = (blobs: readonly Descriptor[]): Descriptor[] => [
  ...new Map(blobs.map((blob) => [blob.digest, blob])).values(),
]

const taken = (place: RemotePlace, tag: string, why: string) =>
  new VarveError('ALREADY_EXISTS', `${tag} of ${place.location} ${why}`, {
    remedy: 'push under another tag, or replace the reference (--force)',
  })
