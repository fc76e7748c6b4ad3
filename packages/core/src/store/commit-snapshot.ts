import { annotations, mediaTypes } from '../content/descriptors.js'
import { assertTag } from '../content/references.js'
import { VarveError } from '../errors.js'
import { stackLayer, zeroMap } from '../layer/compose-extent-map.js'
import { maxLayers } from '../layer/extent-map.js'
import { extentMapToBytes } from '../layer/extent-map-bytes.js'
import { readLayer } from '../layer/layer-file.js'
import { CommitLeases } from './commit-leases.js'
import { assertDraft, layerNotes, type StagedBlob } from './layer-chain.js'
import type { SnapshotManifest } from './manifest.js'
import type { Repository } from './repository.js'
import { snapshotConfigToJson } from './snapshot-config.js'
import type { CommitOptions, CommittedSnapshot } from './snapshot-store.js'
import type { SnapshotDraft, SnapshotEntry } from './snapshot-types.js'

/** Adds a snapshot to what is there by then: a parent that is packed meanwhile is looked at again. */
export async function commitSnapshot(
  repository: Repository,
  draft: SnapshotDraft,
  options: CommitOptions,
): Promise<CommittedSnapshot> {
  const leases = new CommitLeases(repository.paths.leases, options.leaseTo ?? [])
  try {
    const entry = await commitLeased(repository, draft, options, leases)
    return { entry, leases: leases.keep() }
  } catch (error) {
    leases.drop()
    throw error
  }
}

async function commitLeased(
  repository: Repository,
  draft: SnapshotDraft,
  options: CommitOptions,
  leases: CommitLeases,
): Promise<SnapshotEntry> {
  const tags = [...new Set((options.tags ?? []).map(assertTag))]
  const { config } = draft
  await using staging = await repository.stage()
  const layer = await readLayer(draft.layerPath, options)
  assertDraft(config, layer)
  const own = await repository.stageBlob(draft.layerPath, mediaTypes.layer, layerNotes(layer), options)
  const state = await repository.stageBlob(draft.statePath, mediaTypes.state, undefined, options)
  const disks: StagedBlob[] = []
  for (const disk of draft.disks) {
    const notes = { [annotations.drive]: disk.drive }
    if ('descriptor' in disk)
      disks.push({ descriptor: { ...disk.descriptor, annotations: notes }, path: null })
    else disks.push(await repository.stageBlob(disk.path, mediaTypes.disk, notes, options))
  }
  const extras: StagedBlob[] = []
  for (const { path, mediaType, annotations: notes } of draft.extras ?? [])
    extras.push(await repository.stageBlob(path, mediaType, notes, options))
  const configBlob = await repository.stageBytes(
    staging,
    'config',
    snapshotConfigToJson(config),
    mediaTypes.config,
  )

  for (;;) {
    const parent = config.parent === null ? undefined : await parentManifest(repository, config.parent)
    const below = parent === undefined ? [] : parent.manifest.layers
    if (below.length >= maxLayers)
      throw new VarveError('INVALID_ARGUMENT', `${config.parent} has ${below.length} layers already`, {
        remedy: 'squash it: varve squash',
      })
    const lower =
      parent === undefined ? zeroMap(layer.index.pages) : await repository.readMap(parent.manifest)
    const map = stackLayer(lower, layer.index, below.length)
    const extentMap = await repository.stageBytes(
      staging,
      'map',
      extentMapToBytes(map, below.length + 1),
      mediaTypes.extentMap,
    )
    const manifest: SnapshotManifest = {
      id: config.id,
      createdAt: config.createdAt,
      config: configBlob.descriptor,
      layers: [...below, own.descriptor],
      extentMap: extentMap.descriptor,
      state: state.descriptor,
      disks: disks.map(({ descriptor }) => descriptor),
      workingSets: extras.filter(isWorkingSet).map(({ descriptor }) => descriptor),
      others: extras.filter((it) => !isWorkingSet(it)).map(({ descriptor }) => descriptor),
    }
    const staged = [own, extentMap, state, ...disks, ...extras, configBlob]
    const entry = await repository.publish(
      staging,
      manifest,
      staged,
      options,
      async (index, manifestDescriptor) => {
        const now = parent && index.snapshots.find(({ id }) => id === parent.entry.id)
        // Packed, squashed or removed since it was looked at: once more with what it is now.
        if (parent !== undefined && now?.manifest.digest !== parent.entry.manifest.digest) return undefined
        leases.give(config.id, manifestDescriptor.digest)
        return {
          id: config.id,
          parent: config.parent,
          tags,
          createdAt: config.createdAt,
          manifest: manifestDescriptor,
        }
      },
    )
    if (entry !== undefined) return entry
  }
}

async function parentManifest(
  repository: Repository,
  id: string,
): Promise<{ entry: SnapshotEntry; manifest: SnapshotManifest }> {
  const entry = (await repository.list()).find((it) => it.id === id)
  if (entry === undefined)
    throw new VarveError('IMAGE_MISMATCH', `the parent ${id} is not in ${repository.location}`, {
      remedy: 'import it, or take a base',
    })
  return { entry, manifest: (await repository.readManifest(entry)).manifest }
}

const isWorkingSet = ({ descriptor }: StagedBlob) => descriptor.mediaType === mediaTypes.workingSet
