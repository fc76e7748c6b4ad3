import { type Descriptor, type Digest, VarveError } from 'varve'
import { descriptorFromJson, Fields } from 'varve/testing'
import { hostArchitecture, readImageConfig } from './image-config.js'
import { blobName, descriptorIn, type ImageFiles, readBlobJson, readImageJson } from './image-files.js'
import { maxLayers } from './image-limits.js'
import type { OpenedImage } from './opened-image.js'
import { someNames } from './some-names.js'

const tagAnnotation = 'org.opencontainers.image.ref.name'
const indexTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const manifestTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
/** Indexes within indexes. Builders write two levels at most. */
const maxIndexDepth = 4
const maxManifests = 10_000

interface Listed extends Descriptor {
  /** `os/architecture`, if it is said. */
  readonly platform: string | undefined
}

/** Opens the image of an OCI layout (OCI image specification, image-layout.md). */
export function openOciLayout(files: ImageFiles, tag: string | undefined): OpenedImage {
  const version = readImageJson(files, 'oci-layout').text('imageLayoutVersion', /^/, 'a version')
  if (!version.startsWith('1.'))
    throw new VarveError('FORMAT_UNSUPPORTED', `${files.from} is an OCI layout of version ${version}`)
  let found = byTag(files, listed(files, readImageJson(files, 'index.json')), tag)
  for (let depth = 0; indexTypes.includes(found.mediaType); depth++) {
    if (depth === maxIndexDepth)
      throw new VarveError('FORMAT_INVALID', `${files.from} has indexes within ${maxIndexDepth} others`)
    found = byPlatform(files, listed(files, readBlobJson(files, found)))
  }
  if (!manifestTypes.includes(found.mediaType))
    throw new VarveError('FORMAT_UNSUPPORTED', `${files.from} has a ${found.mediaType}, not an image`)
  const manifest = readBlobJson(files, found)
  const { config, diffIds } = readImageConfig(
    readBlobJson(files, descriptorIn(files, manifest, 'config')),
    files.from,
  )
  const layers = manifest
    .list('layers', maxLayers)
    .map((it, index) => descriptorFromJson(files.from, it, `layers[${index}]`))
  if (layers.length !== diffIds.length)
    throw new VarveError(
      'FORMAT_INVALID',
      `${files.from}: the manifest has ${layers.length} layers, the configuration ${diffIds.length}`,
    )
  return {
    digest: found.digest,
    config,
    layers: layers.map((layer, index) => ({
      name: layer.digest,
      path: files.pathOf(blobName(layer)),
      digest: layer.digest,
      diffId: diffIds[index] as Digest,
    })),
  }
}

function listed(files: ImageFiles, index: Fields): Listed[] {
  return index.list('manifests', maxManifests).map((it, number) => {
    const where = `manifests[${number}]`
    const platform = new Fields(files.from, it, where).raw('platform') as
      | { readonly os?: unknown; readonly architecture?: unknown }
      | null
      | undefined
    return {
      ...descriptorFromJson(files.from, it, where),
      platform: typeof platform?.os === 'string' ? `${platform.os}/${platform.architecture}` : undefined,
    }
  })
}

function byTag(files: ImageFiles, all: readonly Listed[], tag: string | undefined): Listed {
  const tags = all.map((it) => it.annotations?.[tagAnnotation])
  const found = tag === undefined ? all : all.filter((_, index) => tags[index] === tag)
  const [first, ...more] = found
  if (first !== undefined && more.length === 0) return first
  // An index without tags can list one image's platforms.
  if (first !== undefined && found.every(({ platform }) => platform !== undefined))
    return byPlatform(files, found)
  const named = tags.filter((it) => it !== undefined)
  throw new VarveError(
    'INVALID_ARGUMENT',
    tag === undefined
      ? `${files.from} has ${all.length} images`
      : `${files.from} has ${first === undefined ? 'no image' : 'several images'} with the tag ${JSON.stringify(tag)}`,
    { remedy: named.length > 0 ? `add one of its tags: ${someNames(named)}` : 'use a layout with one image' },
  )
}

function byPlatform(files: ImageFiles, all: readonly Listed[]): Listed {
  const wanted = `linux/${hostArchitecture()}`
  const found = all.find(({ platform }) => platform === wanted)
  if (found !== undefined) return found
  const [only, ...more] = all
  if (only !== undefined && more.length === 0 && only.platform === undefined) return only
  throw new VarveError('HOST_UNSUPPORTED', `${files.from} has no image for ${wanted}`, {
    remedy: `it has ${someNames([...new Set(all.map((it) => it.platform ?? 'unnamed platforms'))])}`,
  })
}
