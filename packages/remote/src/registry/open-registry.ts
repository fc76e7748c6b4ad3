import { defaultLimits, type HttpLimits } from '../http/limits.js'
import type { RegistryPlace } from '../place/place.js'
import type { RemotePlace } from '../place/remote-place.js'
import { dockerCredential, type FindCredential } from './docker-credentials.js'
import { RegistryArtifacts } from './registry-artifacts.js'
import { RegistryBlobs } from './registry-blobs.js'
import { RegistryRefs } from './registry-refs.js'
import { RegistrySession } from './registry-session.js'

/** How a registry is spoken to. */
export interface OpenRegistryOptions {
  /** Where credentials come from. Default: what `docker login`, `podman login` and `oras login` wrote. */
  readonly credential?: FindCredential
  /** Speak HTTP, not HTTPS. Default: only with a registry on this host. */
  readonly insecure?: boolean
  /**
   * Repositories of the same registry that may have a blob already, so that it is not sent. Default: none.
   */
  readonly mountFrom?: readonly string[]
  /** How patient to be. Default: `defaultLimits`. */
  readonly limits?: Partial<HttpLimits>
  /** Bytes that one PATCH carries; a registry may ask for more. Default: 32 MiB. */
  readonly chunkBytes?: number
}

/**
 * The snapshots in a repository of a registry. Nothing is asked yet.
 * @param place the repository
 */
export function openRegistry(place: RegistryPlace, options: OpenRegistryOptions = {}): RemotePlace {
  const { credential = dockerCredential, insecure = false, mountFrom = [], limits, chunkBytes } = options
  const session = new RegistrySession({
    host: place.host,
    repository: place.repository,
    insecure,
    credential: (host) => credential(host),
    limits: { ...defaultLimits, ...limits },
  })
  const blobs = new RegistryBlobs(session, mountFrom, chunkBytes)
  const refs = new RegistryRefs(session, blobs)
  return { location: blobs.location, blobs, refs, artifacts: new RegistryArtifacts(session, refs) }
}
