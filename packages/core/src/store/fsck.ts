import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { hexOf } from '../content/descriptors.js'
import { isVarveError } from '../errors.js'
import { compareImages } from '../layer/compare-images.js'
import { readLayer } from '../layer/layer-file.js'
import type { Layer } from '../layer/layer-types.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { removeFile } from '../sys/mutations.js'
import { assertChain, assertLayerNotes, isMapOf } from './layer-chain.js'
import { readLeases } from './leases.js'
import { isTemporary } from './left-overs.js'
import { entriesOf, type SnapshotManifest } from './manifest.js'
import { emptyIndex, type ReferenceIndex } from './reference-index.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { SnapshotEntry } from './snapshot-types.js'
import { deadStagings } from './staging.js'
import type { FsckFinding, FsckReport } from './store-reports.js'

/**
 * Reads every byte and follows every link of a repository. Changes nothing but the marks of blobs: right ones
 * get theirs, wrong ones lose it.
 */
export async function checkStore(repository: Repository, options: WorkOptions = {}): Promise<FsckReport> {
  const findings: FsckFinding[] = []
  const report = (finding: Omit<FsckFinding, 'snapshots'>, snapshots: readonly string[] = []) =>
    void findings.push({ ...finding, snapshots })
  const index = await readIndex(repository, report)
  const descriptors = new Map<Digest, Descriptor>()
  const users = new Map<Digest, string[]>()
  const uses = (descriptor: Descriptor, id: string) => {
    descriptors.set(descriptor.digest, descriptor)
    users.set(descriptor.digest, [...(users.get(descriptor.digest) ?? []), id])
  }

  const manifests: { readonly entry: SnapshotEntry; readonly manifest: SnapshotManifest }[] = []
  for (const entry of index.snapshots) {
    uses(entry.manifest, entry.id)
    try {
      const { manifest } = await repository.readManifest(entry)
      for (const descriptor of [manifest.config, ...entriesOf(manifest)]) uses(descriptor, entry.id)
      manifests.push({ entry, manifest })
    } catch (error) {
      report(problem(error, repository.blobs.path(entry.manifest.digest)), [entry.id])
    }
  }

  let bytes = 0
  const wrong = new Set<Digest>()
  for (const [digest, descriptor] of descriptors) {
    throwIfAborted(options.signal, 'fsck')
    try {
      await repository.blobs.verify(descriptor, options)
      bytes += descriptor.size
    } catch (error) {
      if (options.signal?.aborted) throw error
      wrong.add(digest)
      const path = repository.blobs.path(digest)
      const already = findings.some((finding) => finding.path === path)
      if (!already) report(problem(error, path), [...new Set(users.get(digest))])
    }
  }
  for (const { entry, manifest } of manifests) {
    if (entriesOf(manifest).some(({ digest }) => wrong.has(digest))) continue
    throwIfAborted(options.signal, 'fsck')
    options.onProgress?.(`checking the links of ${entry.id.slice(0, 12)}`)
    try {
      await checkLinks(repository, entry, manifest, options)
    } catch (error) {
      if (options.signal?.aborted) throw error
      report(problem(error, repository.blobs.path(manifest.extentMap.digest)), [entry.id])
    }
  }
  await findGarbage(repository, new Set(descriptors.keys()), index, report)
  return { blobs: descriptors.size, bytes, snapshots: index.snapshots.length, findings }
}

type Report = (finding: Omit<FsckFinding, 'snapshots'>, snapshots?: readonly string[]) => void

async function readIndex(repository: Repository, report: Report): Promise<ReferenceIndex> {
  try {
    return await repository.index()
  } catch (error) {
    report({
      ...problem(error, repository.paths.index),
      remedy: 'take index.json from a backup; without it no snapshot has a name, and gc must not run',
    })
    return emptyIndex
  }
}

function problem(error: unknown, path: string): Omit<FsckFinding, 'snapshots'> {
  const known = isVarveError(error) ? error : undefined
  const offset = known?.details.offset
  const named = known?.details.path
  return {
    severity: 'error',
    code: known?.code ?? 'SYSCALL_FAILED',
    path: typeof named === 'string' ? named : path,
    ...(typeof offset === 'number' ? { offset } : {}),
    message: (error as Error).message,
    remedy:
      known?.remedy ??
      'import the snapshots again from an export, or remove them: varve snapshot rm, varve gc',
  }
}

/**
 * That layers lie on each other, that the map is what they make together, and that the
 * state and flat file belong to it.
 */
async function checkLinks(
  repository: Repository,
  entry: SnapshotEntry,
  manifest: SnapshotManifest,
  options: WorkOptions,
): Promise<void> {
  const layers: Layer[] = []
  for (const descriptor of manifest.layers) {
    const layer = await readLayer(repository.blobs.path(descriptor.digest), options)
    assertLayerNotes(descriptor, layer)
    layers.push(layer)
  }
  assertChain(layers, entry.id)
  const map = await repository.readMap(manifest)
  if (!isMapOf(map, layers)) {
    const path = repository.blobs.path(manifest.extentMap.digest)
    throw Object.assign(new Error(`${path} is not the image that its ${layers.length} layers make`), { path })
  }
  const flat = join(repository.paths.flat, entry.id)
  if ((await readdir(repository.paths.flat)).includes(entry.id)) {
    const differing = await compareImages(flat, { map, files: layers }, { signal: options.signal })
    // Derived: without its mark it is made again by the next restore.
    if (differing.pages > 0) await removeFile(`${flat}.mark`)
  }
}

async function findGarbage(
  repository: Repository,
  known: ReadonlySet<Digest>,
  index: ReferenceIndex,
  report: Report,
): Promise<void> {
  const { paths, blobs } = repository
  const garbage = (path: string, message: string) =>
    report({ severity: 'garbage', code: 'NOT_FOUND', path, message, remedy: 'varve gc removes it' })
  // Another tool's blobs are not for us to judge.
  if (index.foreign.length === 0)
    for (const digest of await blobs.list())
      if (!known.has(digest))
        garbage(blobs.path(digest), `no snapshot has blob ${hexOf(digest).slice(0, 12)}`)
  for (const name of await readdir(paths.garbage)) garbage(join(paths.garbage, name), 'put aside by a gc')
  await repository.locked(async () => {
    for (const path of await deadStagings(paths.staging)) garbage(path, 'left by a process that has ended')
  })
  for (const path of (await readLeases(paths.leases)).stale)
    garbage(path, 'a lease of a process that has ended')
  const ids = new Set(index.snapshots.map(({ id }) => id))
  for (const name of await readdir(paths.flat))
    if (!ids.has(name.split('.')[0] ?? '')) garbage(join(paths.flat, name), 'a flat image of no snapshot')
  for (const directory of [paths.directory, paths.leases, paths.verified])
    for (const name of await readdir(directory))
      if (isTemporary(name)) garbage(join(directory, name), 'half-written')
}
