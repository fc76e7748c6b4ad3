import { type Digest, VarveError } from 'varve'
import { Fields, hashBytes, parseJson, readSmallFile } from 'varve/testing'
import { readImageConfig, strings } from './image-config.js'
import type { ImageFiles } from './image-files.js'
import { maxJsonBytes, maxLayers } from './image-limits.js'
import type { OpenedImage } from './opened-image.js'
import { someNames } from './some-names.js'

/**
 * Opens an image of a docker archive: `manifest.json` is a list of images, each with the names of its
 * configuration and layers (moby, image/tarexport/tarexport.go). Their digests are what the configuration
 * says.
 */
export function openDockerArchive(files: ImageFiles, name: string | undefined): OpenedImage {
  const where = `${files.from}:manifest.json`
  const value = parseJson(readSmallFile(files.pathOf('manifest.json'), maxJsonBytes), where)
  const images = new Fields(where, { images: value })
    .list('images', 1000)
    .map((it, index) => new Fields(where, it, `image ${index}`))
  const names = images.map((it) => strings(it, 'RepoTags'))
  const found = name === undefined ? images : images.filter((_, index) => names[index]?.includes(name))
  const [image, ...more] = found
  if (image === undefined || more.length > 0)
    throw new VarveError(
      'INVALID_ARGUMENT',
      name === undefined
        ? `${files.from} has ${images.length} images`
        : `${files.from} has no image named ${JSON.stringify(name)}`,
      { remedy: `add one of its names: ${someNames(names.flat())}` },
    )
  const bytes = readSmallFile(files.pathOf(image.text('Config', /^[^\0]+$/, 'a name')), maxJsonBytes)
  const { config, diffIds } = readImageConfig(
    new Fields(where, parseJson(bytes, where), 'Config'),
    files.from,
  )
  const layers = strings(image, 'Layers')
  if (layers.length !== diffIds.length || layers.length > maxLayers)
    throw image.refusal('Layers', layers.length, `${diffIds.length}, as many as the configuration has`)
  return {
    digest: hashBytes(bytes),
    config,
    layers: layers.map((layer, index) => ({
      name: layer,
      path: files.pathOf(layer),
      digest: null,
      diffId: diffIds[index] as Digest,
    })),
  }
}
