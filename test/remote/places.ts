import { randomUUID } from 'node:crypto'
import {
  type OpenBucketOptions,
  type OpenRegistryOptions,
  openBucket,
  openRegistry,
  type RemotePlace,
} from '@varve/remote'
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js'
import { startVersityGateway } from '../support/versity-gateway.js'

/** A server of places, started for a test file. */
export interface PlaceServer<Options> extends AsyncDisposable {
  /** A place that has nothing yet. */
  empty(options?: Options): RemotePlace
}

export async function registryPlaces(
  options: Parameters<typeof startDockerRegistry>[0] = {},
): Promise<PlaceServer<OpenRegistryOptions> & { readonly registry: DockerRegistry }> {
  const registry = await startDockerRegistry(options)
  return {
    registry,
    empty: (how) =>
      openRegistry({ kind: 'registry', host: registry.host, repository: `test/${randomUUID()}` }, how),
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  }
}

export async function bucketPlaces(): Promise<PlaceServer<OpenBucketOptions>> {
  const { settings, bucket, [Symbol.asyncDispose]: close } = await startVersityGateway()
  return {
    empty: (options) =>
      openBucket({ kind: 'bucket', bucket, prefix: `test/${randomUUID()}` }, { settings, ...options }),
    [Symbol.asyncDispose]: close,
  }
}
