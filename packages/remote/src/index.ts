/** `@varve/remote`: snapshots in OCI registries and S3-compatible buckets. */

export type { BucketCredential, BucketSettings } from './bucket/aws-credentials.js'
export { awsSettings } from './bucket/aws-credentials.js'
export { type OpenBucketOptions, openBucket } from './bucket/open-bucket.js'
export type { BringFrame, CachedBlob } from './cache/cached-blob.js'
export {
  type CacheUsage,
  type FrameCache,
  type FrameCacheOptions,
  openFrameCache,
} from './cache/frame-cache.js'
export { type Pin, pinBlob } from './cache/pin-blob.js'
export { blobOfFile } from './framed/blob-of-file.js'
export { type FramedLayer, type FrameOptions, frameLayer } from './framed/frame-layer.js'
export {
  framedDescriptor,
  framedLayerType,
  type ToldOfFramed,
  toldOfFramed,
} from './framed/framed-descriptor.js'
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
export { defaultLimits, type HttpLimits } from './http/limits.js'
export { type OpenPlaceOptions, openPlace } from './open-place.js'
export {
  type BucketPlace,
  formatPlace,
  type LayoutPlace,
  type LocalPlace,
  type Place,
  parsePlace,
  type RegistryPlace,
} from './place/place.js'
export type { ArtifactSource, RemotePlace } from './place/remote-place.js'
export {
  type Credential,
  dockerCredential,
  type FindCredential,
  type PasswordCredential,
  type TokenCredential,
} from './registry/docker-credentials.js'
export { type OpenRegistryOptions, openRegistry } from './registry/open-registry.js'
export { listRemote, type RemoteSnapshot } from './transfer/list-remote.js'
export type { Moved } from './transfer/progress.js'
export { type PullOptions, type PullReport, pullSnapshot } from './transfer/pull-snapshot.js'
export { type PushOptions, type PushReport, pushSnapshot } from './transfer/push-snapshot.js'
export { removeRemote } from './transfer/remove-remote.js'
