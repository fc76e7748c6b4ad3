import { Fields, parseJson } from '../content/checked-json.js'
import type { Descriptor } from '../content/descriptors.js'
import {
  annotations,
  descriptorFromJson,
  idPattern,
  mediaTypes,
  timePattern,
} from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { maxLayers } from '../layer/extent-map.js'

/** The manifest of a snapshot, docs/formats/snapshot-v1.md, by the roles of its entries. */
export interface SnapshotManifest {
  readonly id: string
  readonly createdAt: string
  readonly config: Descriptor
  /** Memory layers, base first. */
  readonly layers: readonly Descriptor[]
  readonly extentMap: Descriptor
  readonly state: Descriptor
  readonly disks: readonly Descriptor[]
  readonly workingSets: readonly Descriptor[]
  readonly others: readonly Descriptor[]
}

const maxEntries = 4096

export function manifestToJson(manifest: SnapshotManifest): Buffer {
  const { id, createdAt, config } = manifest
  return Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType: mediaTypes.snapshot,
        config,
        layers: entriesOf(manifest),
        annotations: { [annotations.created]: createdAt, [annotations.snapshot]: id },
      },
      null,
      1,
    ),
  )
}

/** What the manifest lists as `layers`, in its order; without the config. */
export function entriesOf(manifest: SnapshotManifest): readonly Descriptor[] {
  const { layers, extentMap, state, disks, workingSets, others } = manifest
  return [...layers, extentMap, state, ...disks, ...workingSets, ...others]
}

/** Reads a manifest that may come from anywhere. */
export function manifestFromJson(bytes: Buffer, path: string): SnapshotManifest {
  const fields = new Fields(path, parseJson(bytes, path))
  fields.whole('schemaVersion', 2, 2)
  const type = fields.text('artifactType', /^[\x21-\x7e]{1,255}$/, 'an artifact type')
  if (type !== mediaTypes.snapshot) {
    const newer = /^application\/vnd\.varve\.snapshot\.v\d+$/.test(type)
    throw new VarveError(
      newer ? 'FORMAT_UNSUPPORTED' : 'FORMAT_INVALID',
      `${path}: artifact type ${type}, not ${mediaTypes.snapshot}`,
      { ...(newer ? { remedy: 'use a newer Varve' } : {}), details: { path, offset: 0 } },
    )
  }
  const notes = fields.object('annotations')
  const entries = fields
    .list('layers', maxEntries)
    .map((entry, i) => descriptorFromJson(path, entry, `layers[${i}]`))
  const of = (mediaType: string) => entries.filter((entry) => entry.mediaType === mediaType)
  const only = (mediaType: string): Descriptor => {
    const [entry, ...more] = of(mediaType)
    if (entry === undefined || more.length > 0)
      throw fields.refusal('layers', `${of(mediaType).length} of ${mediaType}`, 'exactly one')
    return entry
  }
  const layers = of(mediaTypes.layer)
  if (layers.length < 1 || layers.length > maxLayers)
    throw fields.refusal('layers', `${layers.length} memory layers`, `1 to ${maxLayers}`)
  const twice = layers.find(({ digest }, at) => layers.findIndex((it) => it.digest === digest) !== at)
  if (twice !== undefined) throw fields.refusal('layers', twice.digest, 'named once')
  const known: readonly string[] = [
    mediaTypes.layer,
    mediaTypes.extentMap,
    mediaTypes.state,
    mediaTypes.disk,
    mediaTypes.workingSet,
  ]
  return {
    id: notes.text(annotations.snapshot, idPattern, 'an id'),
    createdAt: notes.text(annotations.created, timePattern, 'a time in UTC'),
    config: descriptorFromJson(path, fields.raw('config'), 'config'),
    layers,
    extentMap: only(mediaTypes.extentMap),
    state: only(mediaTypes.state),
    disks: of(mediaTypes.disk),
    workingSets: of(mediaTypes.workingSet),
    others: entries.filter(({ mediaType }) => !known.includes(mediaType)),
  }
}

/** Pages that a memory layer's file begins with; the descriptor says so, its footer again. */
export function storedPagesOf(descriptor: Descriptor, path: string): number {
  const text = descriptor.annotations?.[annotations.storedPages] ?? ''
  const pages = Number(text)
  if (!/^\d{1,10}$/.test(text) || pages * 4096 > descriptor.size)
    throw new VarveError(
      'FORMAT_INVALID',
      `${path}: ${annotations.storedPages} of layer ${descriptor.digest} is ${JSON.stringify(text)}`,
      { details: { path, offset: 0 } },
    )
  return pages
}

/** Pages of data that a memory layer holds, as its descriptor says; undefined if it does not. */
export function dataPagesOf(descriptor: Descriptor | undefined): number | undefined {
  const text = descriptor?.annotations?.[annotations.dataPages] ?? ''
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined
}
