/**
 * `varve/layers`: layer files and memory images as files, without a VM and without a store: index, seal, read
 * and check a layer, find where each page of an image lies, flatten, squash, pack, rebase and compare images.
 */

export { type CompareOptions, compareImages } from './layer/compare-images.js'
export { composeExtentMap, stackLayer, zeroMap } from './layer/compose-extent-map.js'
export type { CopyReport } from './layer/copy-pages.js'
export {
  type ExtentMap,
  imagePages,
  lookupPage,
  type PageSource,
  pagesFrom,
  zeroSource,
} from './layer/extent-map.js'
export { type ExtentMapJson, extentMapFromJson, extentMapToJson } from './layer/extent-map-json.js'
export { type FlattenOptions, type FlattenResult, flatten } from './layer/flatten.js'
export type { Image, ImageSource } from './layer/image-reader.js'
export { type IndexedMemoryFile, type IndexOptions, indexMemoryFile } from './layer/index-memory-file.js'
export {
  readLayer,
  type SealOptions,
  sealLayer,
  type VerifyOptions,
  verifyLayer,
} from './layer/layer-file.js'
export {
  countPages,
  dataPages,
  flatIndex,
  type StoredRun,
  storedRuns,
  zeroPages,
} from './layer/layer-index.js'
export {
  type CopyMethod,
  type ImageId,
  type Layer,
  type LayerFile,
  type LayerIndex,
  type LayerLayout,
  type PackOrder,
  zeroPage,
} from './layer/layer-types.js'
export { readLayeredMemory, writeLayeredMemory } from './layer/layered-memory.js'
export { type PackOptions, packLayer } from './layer/pack.js'
export { type NamedImage, rebaseLayer } from './layer/rebase.js'
export { squashLayers } from './layer/squash.js'
export type { ComposedLayer, ComposeOptions } from './layer/write-layer.js'
