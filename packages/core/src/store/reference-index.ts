import { Fields, parseJson } from '../content/checked-json.js'
import type { Descriptor } from '../content/descriptors.js'
import {
  annotations,
  descriptorFromJson,
  idPattern,
  mediaTypes,
  timePattern,
} from '../content/descriptors.js'
import { hashBytes } from '../content/hash-file.js'
import { referenceAnnotations, tagPattern } from '../content/references.js'
import { VarveError } from '../errors.js'
import { notFound } from '../not-found.js'
import type { SnapshotEntry } from './snapshot-types.js'

/** index.json: the snapshots of a store, and entries of other tools. */
export interface ReferenceIndex {
  /** Oldest first. */
  readonly snapshots: readonly SnapshotEntry[]
  /** Kept as they are. */
  readonly foreign: readonly unknown[]
}

export const emptyIndex: ReferenceIndex = { snapshots: [], foreign: [] }
export const maxIndexBytes = 64 * 1024 * 1024
const maxEntries = 65_536

export function indexToJson({ snapshots, foreign }: ReferenceIndex): Buffer {
  const manifests = snapshots.flatMap((entry) =>
    (entry.tags.length === 0 ? [undefined] : entry.tags).map((tag) => descriptorOf(entry, tag)),
  )
  return Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType: mediaTypes.index,
        manifests: [...foreign, ...manifests],
        annotations: { [annotations.references]: digestOfEntries(manifests) },
      },
      null,
      1,
    ),
  )
}

/** Over our own entries alone, in their order: other tools may add theirs. */
const digestOfEntries = (entries: readonly unknown[]) => hashBytes(Buffer.from(JSON.stringify(entries)))

function descriptorOf(entry: SnapshotEntry, tag: string | undefined): object {
  const { digest, size } = entry.manifest
  return {
    mediaType: mediaTypes.manifest,
    digest,
    size,
    artifactType: mediaTypes.snapshot,
    annotations: {
      ...(tag === undefined ? {} : { [annotations.tag]: tag }),
      ...referenceAnnotations(entry),
    },
  }
}

/** Reads an index that may come from anywhere. */
export function indexFromJson(bytes: Buffer, path: string): ReferenceIndex {
  const fields = new Fields(path, parseJson(bytes, path))
  fields.whole('schemaVersion', 2, 2)
  const foreign: unknown[] = []
  const own: unknown[] = []
  const snapshots = new Map<string, SnapshotEntry>()
  const tags = new Set<string>()
  for (const [i, value] of fields.list('manifests', maxEntries).entries()) {
    const entry = new Fields(path, value, `manifests[${i}]`)
    if (entry.raw('artifactType') !== mediaTypes.snapshot) {
      descriptorFromJson(path, value, `manifests[${i}]`)
      foreign.push(value)
      continue
    }
    own.push(value)
    const { mediaType, digest, size } = descriptorFromJson(path, value, `manifests[${i}]`)
    const manifest: Descriptor = { mediaType, digest, size }
    const notes = entry.object('annotations')
    const id = notes.text(annotations.snapshot, idPattern, 'an id')
    const before = snapshots.get(id)
    if (before !== undefined && before.manifest.digest !== digest)
      throw entry.refusal(annotations.snapshot, id, 'a snapshot with one manifest')
    const tag = notes.has(annotations.tag) ? notes.text(annotations.tag, tagPattern, 'a tag') : undefined
    if (tag !== undefined && tags.has(tag)) throw entry.refusal(annotations.tag, tag, 'given once')
    if (tag !== undefined) tags.add(tag)
    snapshots.set(id, {
      id,
      parent: notes.has(annotations.parent) ? notes.text(annotations.parent, idPattern, 'an id') : null,
      tags: [...(before?.tags ?? []), ...(tag === undefined ? [] : [tag])],
      createdAt: notes.text(annotations.created, timePattern, 'a time in UTC'),
      manifest,
    })
  }
  const stated = fields.strings('annotations')[annotations.references]
  if (stated !== undefined && stated !== digestOfEntries(own))
    throw new VarveError('CHECKSUM_MISMATCH', `${path}: its entries are not those that were written`, {
      remedy: 'take index.json from a backup, or import the snapshots again into a new store',
      details: { path, offset: 0, lengthBytes: bytes.length },
    })
  return { snapshots: [...snapshots.values()].sort(byAge), foreign }
}

const byAge = (a: SnapshotEntry, b: SnapshotEntry) =>
  a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.id < b.id ? -1 : 1

/** With this entry in place of the one of the same id; its tags move here from wherever they were. */
export function withEntry(index: ReferenceIndex, entry: SnapshotEntry): ReferenceIndex {
  const others = index.snapshots
    .filter(({ id }) => id !== entry.id)
    .map((other) => ({ ...other, tags: other.tags.filter((tag) => !entry.tags.includes(tag)) }))
  return { ...index, snapshots: [...others, entry].sort(byAge) }
}

/** The entry that a tag, an id or the beginning of an id (6 digits or more) names. */
export function findEntry({ snapshots }: ReferenceIndex, ref: string, location: string): SnapshotEntry {
  const exact = snapshots.find(({ tags }) => tags.includes(ref)) ?? snapshots.find(({ id }) => id === ref)
  if (exact !== undefined) return exact
  const found = /^[0-9a-f]{6,31}$/.test(ref) ? snapshots.filter(({ id }) => id.startsWith(ref)) : []
  const [entry, second] = found
  if (second !== undefined)
    throw new VarveError('INVALID_ARGUMENT', `${ref} is the beginning of ${found.length} ids`, {
      remedy: `give more digits: ${found
        .slice(0, 4)
        .map(({ id }) => id)
        .join(', ')}`,
    })
  if (entry !== undefined) return entry
  throw notFound('snapshot', `no snapshot ${JSON.stringify(ref)} in ${location}`, {
    remedy: 'list them: varve snapshot ls',
  })
}
