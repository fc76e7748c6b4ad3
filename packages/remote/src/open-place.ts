import { VarveError } from 'varve'
import { type OpenBucketOptions, openBucket } from './bucket/open-bucket.js'
import { formatPlace, type Place } from './place/place.js'
import type { RemotePlace } from './place/remote-place.js'
import { type OpenRegistryOptions, openRegistry } from './registry/open-registry.js'

/** How a place is opened; each kind takes its own part. */
export interface OpenPlaceOptions {
  /** For a registry. */
  readonly registry?: OpenRegistryOptions
  /** For a bucket. */
  readonly bucket?: OpenBucketOptions
}

/**
 * Opens a registry's repository or a bucket's prefix. Nothing is asked yet. INVALID_ARGUMENT for other
 * places.
 */
export function openPlace(place: Place, options: OpenPlaceOptions = {}): RemotePlace {
  if (place.kind === 'registry') return openRegistry(place, options.registry)
  if (place.kind === 'bucket') return openBucket(place, options.bucket)
  throw new VarveError(
    'INVALID_ARGUMENT',
    `${formatPlace(place)} is on this host, not in a registry or bucket`,
    {
      remedy: 'use varve export and varve import between stores of one host',
    },
  )
}
