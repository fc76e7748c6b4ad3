import { assertTag, VarveError } from 'varve'

/** A place that keeps snapshots, and perhaps one of its tags, or a snapshot's id in place of a tag. */
export type Place = RegistryPlace | BucketPlace | LayoutPlace | LocalPlace

/** `registry.example:5000/team/vms:tag`: a repository of an OCI registry. */
export interface RegistryPlace {
  /** Which kind of place. */
  readonly kind: 'registry'
  /** Host name or address, with `:PORT` if it was given. */
  readonly host: string
  /** The repository's name within the registry. */
  readonly repository: string
  /** The snapshot that is meant. Default: none, the whole repository. */
  readonly tag?: string
}

/** `s3://bucket/prefix#tag`: a prefix in an S3-compatible bucket. */
export interface BucketPlace {
  /** Which kind of place. */
  readonly kind: 'bucket'
  /** The bucket's name. */
  readonly bucket: string
  /** Without `/` at either end; empty for the whole bucket. */
  readonly prefix: string
  /** The snapshot that is meant. Default: none, all under the prefix. */
  readonly tag?: string
}

/** `oci:DIR:tag`: an OCI image layout in a directory. */
export interface LayoutPlace {
  /** Which kind of place. */
  readonly kind: 'layout'
  /** The directory, as it was given. */
  readonly directory: string
  /** The snapshot that is meant. Default: none, the whole layout. */
  readonly tag?: string
}

/** `file:DIR#tag`: a local store of Varve. */
export interface LocalPlace {
  /** Which kind of place. */
  readonly kind: 'local'
  /** The directory, as it was given. */
  readonly directory: string
  /** The snapshot that is meant. Default: none, the whole store. */
  readonly tag?: string
}

/** Distribution specification 1.1: the name of a repository. Registries take 255 bytes with the host. */
const repositoryPattern =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const maxRepositoryBytes = 255

/**
 * A host name, an IPv4 address, or an IPv6 address in brackets. Without a dot or a port, only `localhost`.
 */
const hostPattern =
  /^(?:localhost|(?=[^:]*[.:])[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|(?=.+:\d)[A-Za-z0-9-]{1,63}|\[[0-9a-fA-F:.]{2,45}\])(?::\d{1,5})?$/

/** As all providers take them: Amazon S3, general purpose buckets. */
const bucketPattern = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
/** Keys are 1,024 bytes; the longest name below a prefix has 150. */
const prefixPattern = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[A-Za-z0-9!_.*'()-]+(?:\/[A-Za-z0-9!_.*'()-]+)*$/
const maxPrefixBytes = 800

const forms = 'REGISTRY/NAME[:TAG], s3://BUCKET[/PREFIX][#TAG], oci:DIR[:TAG] and file:DIR[#TAG]'

/**
 * What a text names. INVALID_ARGUMENT if it is no place; the message never repeats a password that was
 * written into it.
 * @param text one of `REGISTRY/NAME[:TAG]`, `s3://BUCKET[/PREFIX][#TAG]`, `oci:DIR[:TAG]`, `file:DIR[#TAG]`
 */
export function parsePlace(text: string): Place {
  if (text.length > 4096 || /\p{Cc}/u.test(text))
    throw invalid('this', 'is longer than 4096 characters or has control characters')
  if (text.startsWith('s3://')) return bucketPlace(text)
  if (text.startsWith('oci:')) return layoutPlace(text)
  if (text.startsWith('file:')) return localPlace(text)
  return registryPlace(text)
}

/** The text that `parsePlace` reads as this place. */
export function formatPlace(place: Place): string {
  const tag = (separator: string) => (place.tag === undefined ? '' : `${separator}${place.tag}`)
  switch (place.kind) {
    case 'registry':
      return `${place.host}/${place.repository}${tag(':')}`
    case 'bucket':
      return `s3://${place.bucket}${place.prefix === '' ? '' : `/${place.prefix}`}${tag('#')}`
    case 'layout':
      return `oci:${place.directory}${tag(':')}`
    case 'local':
      return `file:${place.directory}${tag('#')}`
  }
}

function bucketPlace(text: string): BucketPlace {
  const [path, tag] = splitAt(text.slice('s3://'.length), '#')
  const [bucket, rawPrefix = ''] = splitAt(path, '/')
  const prefix = rawPrefix.replace(/\/$/, '')
  if (!bucketPattern.test(bucket) || bucket.includes('..'))
    throw invalid(shown(text), `has no bucket's name between s3:// and the next '/'`)
  if (prefix !== '' && (!prefixPattern.test(prefix) || prefix.length > maxPrefixBytes))
    throw invalid(
      shown(text),
      `has a prefix that is not 1–${maxPrefixBytes} of A–Z, a–z, 0–9, ! _ . * ' ( ) - and single '/'`,
    )
  return { kind: 'bucket', bucket, prefix, ...tagOf(tag) }
}

function layoutPlace(text: string): LayoutPlace {
  const rest = text.slice('oci:'.length)
  const colon = rest.lastIndexOf(':')
  const hasTag = colon > 0 && !rest.includes('/', colon)
  const directory = hasTag ? rest.slice(0, colon) : rest
  if (directory === '') throw invalid(shown(text), 'names no directory')
  return { kind: 'layout', directory, ...tagOf(hasTag ? rest.slice(colon + 1) : undefined) }
}

function localPlace(text: string): LocalPlace {
  const [directory, tag] = splitAt(text.slice('file:'.length).replace(/^\/\/(?=\/)/, ''), '#')
  if (directory === '') throw invalid(shown(text), 'names no directory')
  return { kind: 'local', directory, ...tagOf(tag) }
}

function registryPlace(text: string): RegistryPlace {
  if (text.includes('://'))
    throw invalid(shown(text), `begins with a scheme that is no place's; a registry is written without one`)
  if (text.includes('@'))
    throw invalid(shown(text), 'has an @: give a tag, and leave passwords to docker login or oras login')
  const [host, name] = splitAt(text, '/')
  if (name === undefined || !hostPattern.test(host))
    throw invalid(
      shown(text),
      `does not begin with a registry's host, as registry.example/ or localhost:5000/`,
    )
  const [repository, tag] = splitAt(name, ':')
  if (!repositoryPattern.test(repository) || host.length + 1 + repository.length > maxRepositoryBytes)
    throw invalid(
      shown(text),
      `has the repository ${JSON.stringify(repository.slice(0, 100))}, which is not made of a–z, 0–9 and single . _ - /`,
    )
  return { kind: 'registry', host, repository, ...tagOf(tag) }
}

const idPattern = /^[0-9a-f]{32}$/

const tagOf = (tag: string | undefined) =>
  tag === undefined ? {} : { tag: idPattern.test(tag) ? tag : assertTag(tag) }

/** Before and after the first separator; undefined if there is none. */
function splitAt(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

/** Without what stands before an `@`: it may be a password. */
const shown = (text: string) => JSON.stringify(text.slice(0, 200).replace(/[^/]*@/g, '…@'))

const invalid = (what: string, why: string) =>
  new VarveError('INVALID_ARGUMENT', `${what} is no place for snapshots: it ${why}`, {
    remedy: `places are ${forms}`,
  })
