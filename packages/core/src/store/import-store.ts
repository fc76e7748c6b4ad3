import { resolve } from 'node:path'
import { type Digest, mediaTypes } from '../content/descriptors.js'
import { assertTag } from '../content/references.js'
import { isVarveError, VarveError } from '../errors.js'
import { syncDirectory } from '../sys/mutations.js'
import { ArchiveReader } from './archive-reader.js'
import { type ArchiveOfBlobs, ImportedBlobs } from './imported-blobs.js'
import { addWorkingSets } from './kept-working-sets.js'
import { manifestFromJson } from './manifest.js'
import { type ReferenceIndex, withEntry } from './reference-index.js'
import type { Repository } from './repository.js'
import { snapshotConfigFromJson } from './snapshot-config.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotEntry } from './snapshot-types.js'

/**
 * Takes the snapshots of an archive into the store: what `exportSnapshots` writes, or any tar of an OCI
 * layout with Varve snapshots. All of it is checked in staging; then blobs get their names and the index its
 * entries, in one step. A tag that another snapshot has stays where it is. A snapshot that the store has
 * already stays as it is there, but its missing or damaged blobs are replaced: each blob that is in both is
 * read in full.
 */
export async function importSnapshots(
  repository: Repository,
  archivePath: string,
  options: WorkOptions = {},
): Promise<readonly SnapshotEntry[]> {
  await using archive = await ArchiveReader.open(resolve(archivePath))
  await using staging = await repository.stage()
  const content = await archive.content(options.signal)
  const wanted = content.index.snapshots
  if (wanted.length === 0)
    throw new VarveError('FORMAT_INVALID', `archive ${archive.path} has no snapshot`, {
      details: { path: archive.path, offset: 0 },
    })
  const blobs = new ImportedBlobs(repository, archive, content.blobs, staging, options)
  // Awaited here: staging goes when this function returns.
  return await takeSnapshots(repository, blobs, wanted, options)
}

/** Checks the snapshots, and adds them to the index in one step. */
async function takeSnapshots(
  repository: Repository,
  blobs: ImportedBlobs,
  wanted: readonly SnapshotEntry[],
  options: WorkOptions,
): Promise<readonly SnapshotEntry[]> {
  for (const entry of wanted) await blobs.takeSnapshot(entry)
  await blobs.checkTheRest()
  const replaced = await replacedSnapshots(repository, blobs, wanted)
  await blobs.compareWithStore()
  return repository.locked(async () => {
    // This comes first: a gc may have removed blobs that the archive left out because the store had them.
    for (const descriptor of blobs.takenOver) await repository.assertThere(descriptor)
    for (const { descriptor, path } of blobs.staged) await repository.blobs.publish(path, descriptor.digest)
    await syncDirectory(repository.paths.blobs)
    const result: SnapshotEntry[] = []
    await repository.updateIndex((before) => {
      let now = before
      for (const entry of wanted) {
        const merged = mergedEntry(now, entry, replaced)
        now = withEntry(now, merged)
        result.push(merged)
      }
      return now
    })
    return result
  }, options)
}

/**
 * Adds a snapshot whose blobs have been put into the store one by one, from another place: with the same
 * checks as an import. `manifest` is its manifest's digest, `tags` are the names to give it: one that another
 * snapshot has stays where it is. A snapshot that the store has already stays as it is there, and is given
 * the working sets that came with it. NOT_FOUND if a blob is missing: a gc may have removed it, as nothing
 * named it.
 */
export async function adoptSnapshot(
  repository: Repository,
  manifest: Digest,
  tags: readonly string[],
  options: WorkOptions = {},
): Promise<SnapshotEntry> {
  const path = repository.blobs.path(manifest)
  const bytes = repository.blobs.readSmall(manifest)
  const { id, createdAt, config, workingSets } = manifestFromJson(bytes, path)
  const { parent } = snapshotConfigFromJson(
    repository.blobs.readSmall(config.digest),
    repository.blobs.path(config.digest),
  )
  const entry: SnapshotEntry = {
    id,
    parent,
    createdAt,
    tags: [...new Set(tags.map(assertTag))],
    manifest: { mediaType: mediaTypes.manifest, digest: manifest, size: bytes.length },
  }
  await using staging = await repository.stage()
  const blobs = new ImportedBlobs(repository, noArchive(repository.location), new Map(), staging, options)
  const adopted = (await takeSnapshots(repository, blobs, [entry], options))[0] as SnapshotEntry
  return await addWorkingSets(repository, adopted, workingSets, options)
}

/** For blobs that are all in the store already. */
const noArchive = (path: string): ArchiveOfBlobs => ({
  path,
  sizeBytes: 0,
  unpack: () => Promise.reject(new Error(`${path} is no archive`)),
})

/**
 * Digests of manifests in the store that do not make a whole snapshot, even with all blobs of the archive.
 */
async function replacedSnapshots(
  repository: Repository,
  blobs: ImportedBlobs,
  wanted: readonly SnapshotEntry[],
): Promise<ReadonlySet<string>> {
  const replaced = new Set<string>()
  const { snapshots } = await repository.index()
  for (const entry of wanted) {
    const there = snapshots.find(({ id }) => id === entry.id)
    if (there === undefined || there.manifest.digest === entry.manifest.digest) continue
    try {
      await blobs.assertSound(there)
    } catch (error) {
      if (!(error instanceof VarveError) || isVarveError(error, 'INTERRUPTED')) throw error
      replaced.add(there.manifest.digest)
    }
  }
  return replaced
}

/** The snapshot as the store has it, if it does; with the tags that no other snapshot has. */
function mergedEntry(
  now: ReferenceIndex,
  entry: SnapshotEntry,
  replaced: ReadonlySet<string>,
): SnapshotEntry {
  const there = now.snapshots.find(({ id }) => id === entry.id)
  const taken = new Set(now.snapshots.filter((it) => it !== there).flatMap(({ tags }) => tags))
  const tags = entry.tags.filter((tag) => !taken.has(tag))
  const kept = there === undefined || replaced.has(there.manifest.digest) ? entry : there
  return { ...kept, tags: [...new Set([...(there?.tags ?? []), ...tags])] }
}
