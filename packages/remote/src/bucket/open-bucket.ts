import { defaultLimits, type HttpLimits } from '../http/limits.js'
import { type BucketPlace, formatPlace } from '../place/place.js'
import type { RemotePlace } from '../place/remote-place.js'
import { awsSettings, type BucketSettings } from './aws-credentials.js'
import { BucketArtifacts } from './bucket-artifacts.js'
import { BucketBlobs } from './bucket-blobs.js'
import { BucketRefs } from './bucket-refs.js'
import { BucketSession } from './bucket-session.js'

/** How a bucket is spoken to. */
export interface OpenBucketOptions {
  /** Endpoint, region and credentials. Default: what the AWS tools take. */
  readonly settings?: BucketSettings
  /** How patient to be. Default: `defaultLimits`. */
  readonly limits?: Partial<HttpLimits>
  /** Larger blobs are uploaded in parts. Default: 64 MiB. */
  readonly maxSinglePutBytes?: number
}

/** The snapshots below a prefix of a bucket. Nothing is asked yet. */
export function openBucket(place: BucketPlace, options: OpenBucketOptions = {}): RemotePlace {
  const { settings = awsSettings(), limits, maxSinglePutBytes } = options
  const session = new BucketSession(place, settings, { ...defaultLimits, ...limits })
  const { bucket, prefix } = place
  const location = formatPlace({ kind: 'bucket', bucket, prefix })
  const blobs = new BucketBlobs(session, location, maxSinglePutBytes)
  const refs = new BucketRefs(session, blobs)
  return { location, blobs, refs, artifacts: new BucketArtifacts(session, blobs) }
}
