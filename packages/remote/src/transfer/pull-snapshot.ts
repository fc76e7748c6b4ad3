import {
  assertTag,
  isVarveError,
  type LocalStore,
  type SnapshotEntry,
  VarveError,
  type WorkOptions,
} from 'varve'
import {
  annotations,
  entriesOf,
  hashBytes,
  largestLayerBytes,
  leaseToSelf,
  manifestFromJson,
  manifestToJson,
  maxExtentMapBytes,
  maxSmallBytes,
  mediaTypes,
  type SnapshotManifest,
  snapshotConfigFromJson,
} from 'varve/testing'
import { readSmallBlob } from '../place/read-small-blob.js'
import type { RemotePlace } from '../place/remote-place.js'
import { copyBlob } from './copy-blob.js'
import { findRemote } from './find-remote.js'
import { inParallel } from './in-parallel.js'
import { type Moved, Progress } from './progress.js'
import { remoteWorkingSets } from './remote-working-sets.js'

/** Blobs on their way at the same time. */
const atOnce = 3
/** How often a gc of the store may remove blobs: one that began before the lease may. */
const maxAdoptions = 3

/** Options of `pullSnapshot`. */
export interface PullOptions extends WorkOptions {
  /** Names for the snapshot in the store; one that another snapshot has stays there. Default: none. */
  readonly tags?: readonly string[]
  /** Fetch the snapshot's working sets, too. Default true. */
  readonly workingSets?: boolean
}

/** What a pull did; `sent` counts what was fetched. */
export interface PullReport extends Moved {
  /** The snapshot in the store. */
  readonly entry: SnapshotEntry
}

/**
 * Fetches a snapshot into a store: blobs that are not there, each compared with its digest, then one step
 * that checks that they belong together and names them. If it is interrupted, a repetition fetches only the
 * blobs that had not arrived. NOT_FOUND, CHECKSUM_MISMATCH, IMAGE_MISMATCH, FORMAT_INVALID.
 * @param place where the snapshot is
 * @param ref the snapshot: a tag or a whole id
 * @param store where it goes
 */
export async function pullSnapshot(
  place: RemotePlace,
  ref: string,
  store: LocalStore,
  options: PullOptions = {},
): Promise<PullReport> {
  const { tags = [], workingSets = true, signal, onProgress } = options
  tags.forEach(assertTag)
  const target = await findRemote(place, ref, { signal })
  const path = `${place.location}, manifest ${target.digest}`
  const remote = manifestFromJson(await readSmallBlob(place.blobs, target, maxSmallBytes, { signal }), path)
  const sets = workingSets
    ? (await remoteWorkingSets(place, { ...target }, { signal })).map(({ descriptor }) => descriptor)
    : []
  const manifest: SnapshotManifest = { ...remote, workingSets: byName([...remote.workingSets, ...sets]) }
  await assertSizes(place, manifest, path, { signal })
  const bytes = manifestToJson(manifest)
  const digest = hashBytes(bytes)
  const blobs = [...new Map([manifest.config, ...entriesOf(manifest)].map((it) => [it.digest, it])).values()]
  const progress = new Progress('fetched', blobs, onProgress)
  const lease = leaseToSelf(store.repository.paths.leases, manifest.id, digest)
  using _lease = { [Symbol.dispose]: () => lease.end() }
  for (let adoptions = 1; ; adoptions++) {
    // The manifest comes first: from it and the lease a gc sees that the blobs are needed.
    await store.blobs.put({ digest, sizeBytes: bytes.length }, [bytes], { signal })
    await inParallel(blobs, atOnce, async (blob) => {
      const sent = await copyBlob(place.blobs, store.blobs, blob, { signal, onBytes: progress.add })
      if (sent || adoptions === 1) progress.settle(blob.size, sent)
    })
    try {
      return { entry: await store.adopt(digest, tags, { signal, onProgress }), ...progress.moved }
    } catch (error) {
      if (!isVarveError(error, 'NOT_FOUND') || adoptions === maxAdoptions) throw error
      onProgress?.('a gc has removed blobs that had arrived: fetching them again')
    }
  }
}

/** The last of each name: artifacts of the place come after what the manifest itself has. */
const byName = (sets: SnapshotManifest['workingSets']): SnapshotManifest['workingSets'] => [
  ...new Map(sets.map((set) => [set.annotations?.[annotations.name], set])).values(),
]

/** A descriptor may say any size: nothing is fetched that could not be right. */
async function assertSizes(
  place: RemotePlace,
  manifest: SnapshotManifest,
  path: string,
  { signal }: WorkOptions,
): Promise<void> {
  const { config, layers, extentMap } = manifest
  const configPath = `${place.location}, config ${config.digest}`
  const read = snapshotConfigFromJson(
    await readSmallBlob(place.blobs, config, maxSmallBytes, { signal }),
    configPath,
  )
  if (read.id !== manifest.id)
    throw new VarveError('IMAGE_MISMATCH', `${path} is of snapshot ${manifest.id}, its config of ${read.id}`)
  const most = largestLayerBytes(read.memoryPages)
  const tooLarge = [
    ...layers.filter(({ size }) => size > most),
    ...(extentMap.size > maxExtentMapBytes ? [extentMap] : []),
  ]
  const [wrong] = tooLarge
  if (wrong !== undefined)
    throw new VarveError(
      'FORMAT_INVALID',
      `${path}: ${wrong.mediaType === mediaTypes.layer ? 'layer' : 'map'} ${wrong.digest} cannot have ${wrong.size} bytes`,
    )
}
