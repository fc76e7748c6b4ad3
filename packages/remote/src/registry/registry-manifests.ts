import { type Descriptor, type Digest, type SourceOptions, throwIfAborted } from 'varve'
import { descriptorFromJson, Fields, hashBytes, mediaTypes, parseJson } from 'varve/testing'
import { bodyBytes, discard, refused, unexpected } from '../http/http-client.js'
import type { RegistrySession } from './registry-session.js'

/** Image manifests and indexes of OCI; others are not asked for. */
export const manifestTypes = `${mediaTypes.manifest}, ${mediaTypes.index}`

/** A registry is not asked for more tags than a store has references. */
const maxTags = 65_536
const tagsAtOnce = 1000

/** What a removed tag has in a registry that deletes nothing: a manifest that names nothing. */
export const nothingType = 'application/vnd.varve.nothing.v1'

/** What a manifest says that it is; undefined if it says nothing. */
export function artifactTypeOf({ bytes }: Pick<FetchedManifest, 'bytes'>): unknown {
  try {
    return (JSON.parse(bytes.toString('utf8')) as { artifactType?: unknown } | null)?.artifactType
  } catch {
    return undefined
  }
}

/** A manifest as a registry sent it, with its own SHA-256. */
export interface FetchedManifest {
  readonly digest: Digest
  readonly bytes: Buffer
}

/**
 * The manifest of a tag or digest; undefined if there is none. CHECKSUM_MISMATCH by the caller, who knows the
 * digest.
 */
export async function getManifest(
  session: RegistrySession,
  reference: string,
  { signal }: SourceOptions = {},
): Promise<FetchedManifest | undefined> {
  const { request, response } = await session.request({
    method: 'GET',
    path: `manifests/${reference}`,
    headers: { accept: manifestTypes },
    signal,
  })
  if (response.status === 404) {
    await discard(response)
    return undefined
  }
  if (response.status !== 200) throw await unexpected(request, response)
  const bytes = await bodyBytes(request, response)
  const digest = hashBytes(bytes)
  if (reference.startsWith('sha256:') && reference !== digest)
    throw refused(request, `sent a manifest whose SHA-256 is ${digest}`)
  return { digest, bytes }
}

/** Writes a manifest under a tag or its digest. With a `condition` that does not hold, it is not written. */
export async function putManifest(
  session: RegistrySession,
  reference: string,
  bytes: Buffer,
  {
    signal,
    condition,
    mediaType = mediaTypes.manifest,
  }: SourceOptions & { condition?: Readonly<Record<string, string>>; mediaType?: string } = {},
): Promise<{ headers: (name: string) => string }> {
  const { request, response } = await session.request({
    method: 'PUT',
    path: `manifests/${reference}`,
    right: 'push',
    headers: { 'content-type': mediaType, ...condition },
    body: bytes,
    signal,
  })
  const taken = response.status === 201 || response.status === 200
  if (!taken && !(response.status === 412 && condition)) throw await unexpected(request, response)
  await discard(response)
  return { headers: response.header }
}

/** All tags of the repository; none if there is no repository yet. */
export async function* tagsOf(
  session: RegistrySession,
  { signal }: SourceOptions = {},
): AsyncGenerator<string> {
  let path: URL | undefined = session.url(`tags/list?n=${tagsAtOnce}`)
  let seen = 0
  while (path !== undefined) {
    const { request, response } = await session.request({ method: 'GET', path, signal })
    if (response.status === 404) return void (await discard(response))
    if (response.status !== 200) throw await unexpected(request, response)
    const link = response.header('link')
    const name = `the tags of ${session.host}/${session.repository}`
    const fields = new Fields(name, parseJson(await bodyBytes(request, response), name))
    const tags = fields.raw('tags') === null ? [] : fields.list('tags', maxTags)
    seen += tags.length
    if (seen > maxTags) throw refused(request, `has more than ${maxTags} tags`)
    for (const tag of tags) if (typeof tag === 'string') yield tag
    // A page without tags that names another one would go on for ever.
    path = tags.length === 0 ? undefined : nextPage(session, link, request.url)
  }
}

/** RFC 8288, as the distribution specification uses it: `<URL>; rel="next"`. */
export function nextPage(session: RegistrySession, link: string, from: URL): URL | undefined {
  const target = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(link)?.[1]
  if (target === undefined || !URL.canParse(target, from.href)) return undefined
  const next = new URL(target, from)
  return session.isOwn(next) ? next : undefined
}

/** The blobs that the tags of the repository name, each once. */
export async function* referencesOf(
  session: RegistrySession,
  options: SourceOptions = {},
): AsyncGenerator<Digest> {
  const seen = new Set<Digest>()
  for await (const tag of tagsOf(session, options)) {
    throwIfAborted(options.signal, `the list of ${session.repository}`)
    const manifest = await getManifest(session, tag, options)
    if (manifest === undefined || seen.has(manifest.digest)) continue
    seen.add(manifest.digest)
    yield manifest.digest
    for (const { digest } of descriptorsIn(manifest.bytes, tag)) {
      if (seen.has(digest)) continue
      seen.add(digest)
      yield digest
    }
  }
}

/** Config and layers of an image manifest; none of anything else. */
function descriptorsIn(bytes: Buffer, tag: string): Descriptor[] {
  const fields = new Fields(tag, parseJson(bytes, tag))
  if (!fields.has('config') || !fields.has('layers')) return []
  return [fields.raw('config'), ...fields.list('layers', 4096)].map((it) =>
    descriptorFromJson(tag, it, 'layers'),
  )
}
