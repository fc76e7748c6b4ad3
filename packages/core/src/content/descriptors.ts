import { VarveError } from '../errors.js'
import { Fields } from './checked-json.js'

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}`

/** What names a blob: OCI's content descriptor. */
export interface Descriptor {
  /** What the blob is, as a media type. */
  readonly mediaType: string
  /** The blob's SHA-256. */
  readonly digest: Digest
  /** Bytes. */
  readonly size: number
  /** Facts about the blob, by name. Default: none. */
  readonly annotations?: Readonly<Record<string, string>>
}

export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  snapshot: 'application/vnd.varve.snapshot.v1',
  config: 'application/vnd.varve.snapshot.config.v1+json',
  layer: 'application/vnd.varve.layer.v1',
  extentMap: 'application/vnd.varve.extent-map.v1',
  state: 'application/vnd.varve.firecracker-state',
  disk: 'application/vnd.varve.disk.v1',
  workingSet: 'application/vnd.varve.working-set.v1',
  hotPages: 'application/vnd.varve.hot-pages.v1',
} as const

export const annotations = {
  tag: 'org.opencontainers.image.ref.name',
  created: 'org.opencontainers.image.created',
  snapshot: 'dev.varve.snapshot',
  parent: 'dev.varve.parent',
  image: 'dev.varve.image',
  storedPages: 'dev.varve.stored-pages',
  dataPages: 'dev.varve.data-pages',
  drive: 'dev.varve.drive',
  name: 'dev.varve.name',
  references: 'dev.varve.references',
} as const

/** Manifest and config; larger ones are refused before they are read. */
export const maxSmallBytes = 4 * 1024 * 1024

const digestPattern = /^sha256:[0-9a-f]{64}$/
export const idPattern = /^(?!0{32}$)[0-9a-f]{32}$/
export const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

export function isDigest(value: unknown): value is Digest {
  return typeof value === 'string' && digestPattern.test(value)
}

export function digestOf(hex: string): Digest {
  const digest = `sha256:${hex}`
  if (!isDigest(digest)) throw new VarveError('INVALID_ARGUMENT', `${JSON.stringify(hex)} is not a SHA-256`)
  return digest
}

/** The 64 digits alone: a blob's file name. */
export const hexOf = (digest: Digest): string => digest.slice('sha256:'.length)

export function descriptorFromJson(path: string, value: unknown, where: string): Descriptor {
  const fields = new Fields(path, value, where)
  const mediaType = fields.text('mediaType', /^[\x21-\x7e]{1,255}$/, 'a media type')
  const digest = fields.text('digest', digestPattern, 'sha256: and 64 hexadecimal digits') as Digest
  const size = fields.whole('size', 0, Number.MAX_SAFE_INTEGER)
  const strings = fields.strings('annotations')
  return Object.keys(strings).length === 0
    ? { mediaType, digest, size }
    : { mediaType, digest, size, annotations: strings }
}
