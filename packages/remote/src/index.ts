/** `@varve/remote`: snapshots in OCI registries and S3-compatible buckets. */

export {
  type BucketPlace,
  formatPlace,
  type LayoutPlace,
  type LocalPlace,
  type Place,
  parsePlace,
  type RegistryPlace,
} from './place/place.js'
