/** What servers of S3's protocol do differently. */
export interface Provider {
  /** `path`: the bucket is the first part of the path; `host`: it is the first part of the host's name. */
  readonly addressing: 'path' | 'host'
  /** Used if the environment names no region. */
  readonly region: string
  /** Uploads of parts at the same time. */
  readonly uploadsAtOnce: number
}

const usual: Provider = { addressing: 'path', region: 'us-east-1', uploadsAtOnce: 4 }

/** By the end of the endpoint's host name; the first that fits. */
const providers: readonly (readonly [string, Partial<Provider>])[] = [
  // Amazon gives new buckets no path-style addresses.
  ['.amazonaws.com', { addressing: 'host' }],
  ['.amazonaws.com.cn', { addressing: 'host' }],
  // R2 has one region, and slows down more than two or three uploads at once.
  ['.r2.cloudflarestorage.com', { region: 'auto', uploadsAtOnce: 2 }],
]

/** How to speak to the server at `endpoint`: as any of them, unless it is known to differ. */
export function providerOf(endpoint: URL): Provider {
  const known = providers.find(([end]) => endpoint.hostname.endsWith(end))
  return { ...usual, ...known?.[1] }
}

/** The endpoint if the environment names none: Amazon's, of the region. */
export const amazonEndpoint = (region: string): URL =>
  new URL(`https://s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`)
