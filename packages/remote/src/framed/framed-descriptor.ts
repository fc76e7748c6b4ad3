import { type Descriptor, type Digest, VarveError } from 'varve'
import { isDigest } from 'varve/testing'
import type { FramedLayer } from './frame-layer.js'
import { maxIndexBytes, trailerBytes } from './framed-index-bytes.js'
import type { ExpectedIndex } from './read-framed-index.js'

/** The media type of a framed layer. */
export const framedLayerType = 'application/vnd.varve.framed-layer.v1'

const layerKey = 'dev.varve.layer'
const indexKey = 'dev.varve.index'
const indexBytesKey = 'dev.varve.index-bytes'

/** What a manifest says of a framed layer, besides what it would say of the layer in it. */
export function framedDescriptor(
  { digest, sizeBytes, index, indexDigest, indexBytes }: Omit<FramedLayer, 'path'>,
  layer: Descriptor,
): Descriptor {
  if (layer.digest !== index.layerDigest)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `${layer.digest} is not the layer in ${digest}: ${index.layerDigest}`,
    )
  const own = {
    [layerKey]: index.layerDigest,
    [indexKey]: indexDigest,
    [indexBytesKey]: String(indexBytes),
  }
  return {
    mediaType: framedLayerType,
    digest,
    size: sizeBytes,
    annotations: { ...layer.annotations, ...own },
  }
}

/** What a manifest says of a framed layer, for who reads it. */
export interface ToldOfFramed {
  /** SHA-256 of the layer in it. */
  readonly layerDigest: Digest
  /** Of its index. */
  readonly expected: ExpectedIndex
}

/** FORMAT_INVALID if the descriptor is none of a framed layer, or says what cannot be. */
export function toldOfFramed({ mediaType, digest, size, annotations = {} }: Descriptor): ToldOfFramed {
  const fail = (what: string, value: string | undefined) =>
    new VarveError('FORMAT_INVALID', `the descriptor of ${digest} has ${what} ${JSON.stringify(value)}`)
  if (mediaType !== framedLayerType) throw fail('the media type', mediaType)
  const { [layerKey]: layerDigest, [indexKey]: indexDigest, [indexBytesKey]: text = '' } = annotations
  if (!isDigest(layerDigest)) throw fail(layerKey, layerDigest)
  if (!isDigest(indexDigest)) throw fail(indexKey, indexDigest)
  const bytes = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0
  if (bytes < trailerBytes || bytes > Math.min(size, maxIndexBytes)) throw fail(indexBytesKey, text)
  return { layerDigest, expected: { digest: indexDigest, bytes } }
}
