import { type Descriptor, isVarveError, type SourceOptions, VarveError } from 'varve'
import {
  annotations,
  descriptorFromJson,
  Fields,
  maxSmallBytes,
  mediaTypes,
  parseJson,
  timePattern,
} from 'varve/testing'
import { emptyConfig } from '../place/artifact.js'
import { readSmallBlob } from '../place/read-small-blob.js'
import type { RemotePlace } from '../place/remote-place.js'

/** A working set as a place keeps it. */
export interface RemoteWorkingSet {
  readonly name: string
  readonly createdAt: string
  /** The set's file, as a snapshot's manifest names it. */
  readonly descriptor: Descriptor
}

/** The artifact that says: this working set is of that snapshot. */
export function workingSetArtifact(set: Descriptor, subject: Descriptor, createdAt: string): Buffer {
  const { mediaType, digest, size } = subject
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: mediaTypes.workingSet,
      config: emptyConfig.descriptor,
      layers: [set],
      subject: { mediaType, digest, size },
      annotations: {
        [annotations.name]: set.annotations?.[annotations.name] ?? '',
        [annotations.created]: createdAt,
      },
    }),
  )
}

/** The working sets of a snapshot in a place: of several with one name, the one created last. */
export async function remoteWorkingSets(
  place: RemotePlace,
  subject: Descriptor,
  options: SourceOptions = {},
): Promise<readonly RemoteWorkingSet[]> {
  const byName = new Map<string, RemoteWorkingSet>()
  for (const artifact of await place.artifacts.referrers(subject.digest, mediaTypes.workingSet, options)) {
    const path = `${place.location}, working set ${artifact.digest}`
    const bytes = await unlessGone(readSmallBlob(place.blobs, artifact, maxSmallBytes, options))
    if (bytes === undefined) continue
    const set = workingSetOf(bytes, subject, path)
    const known = byName.get(set.name)
    if (known === undefined || known.createdAt < set.createdAt) byName.set(set.name, set)
  }
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** An index may name what was removed since; a snapshot can be restored without its working sets. */
async function unlessGone(reading: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await reading
  } catch (error) {
    if (isVarveError(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

function workingSetOf(bytes: Buffer, subject: Descriptor, path: string): RemoteWorkingSet {
  const fields = new Fields(path, parseJson(bytes, path))
  const of = descriptorFromJson(path, fields.raw('subject'), 'subject')
  const descriptors = fields.list('layers', 1).map((it) => descriptorFromJson(path, it, 'layers[0]'))
  const [descriptor] = descriptors
  if (of.digest !== subject.digest || descriptor?.mediaType !== mediaTypes.workingSet)
    throw new VarveError('FORMAT_INVALID', `${path} is not of ${subject.digest}, or has no working set`)
  return {
    name: descriptor.annotations?.[annotations.name] ?? '',
    createdAt: fields.object('annotations').text(annotations.created, timePattern, 'a time in UTC'),
    descriptor,
  }
}
