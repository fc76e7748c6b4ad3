import type { Place, RemotePlace } from '@varve/remote'
import { VarveError } from 'varve'
import type { CommandContext, OptionTable } from './command.js'
import { installed } from './installed.js'

/** The package that speaks to registries and buckets, which is only needed by verbs that do. */
export const loadRemote = (): Promise<typeof import('@varve/remote')> =>
  installed('@varve/remote', import('@varve/remote'))

/** For every verb that speaks to a place. */
export const remoteOptions = {
  insecure: { type: 'boolean' },
} as const satisfies OptionTable

/** What help says of PLACE and of these options. */
export const remoteHelp = `  PLACE       REGISTRY/NAME[:TAG]          a repository of an OCI registry
              s3://BUCKET[/PREFIX][#TAG]   a prefix in an S3-compatible bucket
  --insecure  speak HTTP with the registry (with one on this host, that is so without it)`

/** What help says of credentials: a paragraph, behind the options. */
export const credentialsHelp = `Credentials for registries are those of docker login, podman login, skopeo login and oras login; for
buckets those of the AWS tools: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE.
AWS_ENDPOINT_URL_S3 leads to a bucket that is not Amazon's.`

/** The place of a command line, and what stands for it in messages. */
export async function openRemote(
  text: string,
  { values }: CommandContext,
  { mountFrom = [] }: { readonly mountFrom?: readonly string[] } = {},
): Promise<{ readonly place: Place; readonly remote: RemotePlace }> {
  const { openPlace, parsePlace } = await loadRemote()
  const place = parsePlace(text)
  const remote = openPlace(place, { registry: { insecure: values.insecure === true, mountFrom } })
  return { place, remote }
}

/** The tag or id of a place; USAGE if it has none. */
export function tagOf(place: Place): string {
  if (place.tag !== undefined) return place.tag
  throw new VarveError('USAGE', 'PLACE names no snapshot', {
    remedy: 'add :TAG to a registry’s repository, #TAG to a bucket; varve ls PLACE lists them',
  })
}
