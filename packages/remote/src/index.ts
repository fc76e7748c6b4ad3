/** `@varve/remote`: snapshots in OCI registries and S3-compatible buckets. */

export { blobOfFile } from './framed/blob-of-file.js'
export { type FramedLayer, type FrameOptions, frameLayer } from './framed/frame-layer.js'
export {
  type FrameCodec,
  type FramedCounts,
  type FramedIndex,
  type FrameEntry,
  frameEntry,
  framesOf,
  hotFramesOf,
  layerBytesOf,
  type PageRuns,
  type PlacedRun,
  pageFramesOf,
  rangeOfFrames,
  rawBytesOf,
} from './framed/framed-index.js'
export { openFrame } from './framed/open-frame.js'
export { PagePlaces } from './framed/page-places.js'
export { type ExpectedIndex, type ReadIndexOptions, readFramedIndex } from './framed/read-framed-index.js'
export { type UnframeOptions, unframeLayer } from './framed/unframe-layer.js'
export {
  type BucketPlace,
  formatPlace,
  type LayoutPlace,
  type LocalPlace,
  type Place,
  parsePlace,
  type RegistryPlace,
} from './place/place.js'
