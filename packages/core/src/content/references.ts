import { VarveError } from '../errors.js'
import { Fields } from './checked-json.js'
import {
  annotations,
  type Descriptor,
  descriptorFromJson,
  idPattern,
  mediaTypes,
  timePattern,
} from './descriptors.js'

/** An id looks like no tag, so that a reference means one thing. */
export const tagPattern = /^(?![0-9a-f]{32}$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** The tag itself; INVALID_ARGUMENT for what cannot be one. */
export function assertTag(tag: string): string {
  if (!tagPattern.test(tag))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `tag ${JSON.stringify(tag)} is not 1–128 of A–Z, a–z, 0–9, '.', '_', '-', or looks like an id`,
    )
  return tag
}

/** What a reference says of the snapshot that it means. */
export interface ReferencedSnapshot {
  /** The snapshot's id, 32 hex digits. */
  readonly id: string
  /** The id of its parent; null for a base. */
  readonly parent: string | null
  /** UTC, ISO 8601 with milliseconds. */
  readonly createdAt: string
  /** The manifest that the reference points to. */
  readonly manifest: Descriptor
}

export const referenceAnnotations = ({
  id,
  parent,
  createdAt,
}: ReferencedSnapshot): Readonly<Record<string, string>> => ({
  [annotations.snapshot]: id,
  ...(parent === null ? {} : { [annotations.parent]: parent }),
  [annotations.created]: createdAt,
})

/** The target of a reference to a snapshot. */
export function referenceTo(snapshot: ReferencedSnapshot): Descriptor {
  const { digest, size } = snapshot.manifest
  return { mediaType: mediaTypes.manifest, digest, size, annotations: referenceAnnotations(snapshot) }
}

/** The other way round. INVALID_ARGUMENT if the target is not the manifest of a snapshot. */
export function referencedSnapshot(target: Descriptor): ReferencedSnapshot {
  try {
    const { mediaType, digest, size } = descriptorFromJson('the reference', target, 'target')
    const fields = new Fields('the reference', target, 'target')
    if (mediaType !== mediaTypes.manifest) throw fields.refusal('mediaType', mediaType, mediaTypes.manifest)
    const notes = fields.object('annotations')
    return {
      id: notes.text(annotations.snapshot, idPattern, 'an id'),
      parent: notes.has(annotations.parent) ? notes.text(annotations.parent, idPattern, 'an id') : null,
      createdAt: notes.text(annotations.created, timePattern, 'a time in UTC'),
      manifest: { mediaType, digest, size },
    }
  } catch (cause) {
    throw new VarveError('INVALID_ARGUMENT', (cause as Error).message, { cause })
  }
}
