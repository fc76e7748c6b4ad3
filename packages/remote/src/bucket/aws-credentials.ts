import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from 'varve'

/** What requests to a bucket are signed with. */
export interface BucketCredential {
  /** Names the key. */
  readonly accessKeyId: string
  /** Signs; it is never sent. */
  readonly secretAccessKey: string
  /** Of temporary credentials. Default: none. */
  readonly sessionToken?: string
}

/** Where a bucket is, and who asks. */
export interface BucketSettings {
  /** Who asks. */
  readonly credential: BucketCredential
  /** Default: what the provider has, else `us-east-1`. */
  readonly region?: string
  /** Default: Amazon's endpoint of the region. */
  readonly endpoint?: URL
}

const maxFileBytes = 1024 * 1024

/**
 * What the AWS tools take: the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
 * AWS_REGION, AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL; else the profile AWS_PROFILE of ~/.aws/credentials
 * and ~/.aws/config.
 */
export function awsSettings(env: NodeJS.ProcessEnv = process.env): BucketSettings {
  const profile = env.AWS_PROFILE || 'default'
  const home = join(homedir(), '.aws')
  const config = () => section(env.AWS_CONFIG_FILE || join(home, 'config'), [`profile ${profile}`, profile])
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || config().region
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || config().endpoint_url
  return {
    credential: credentialOf(env, profile, home),
    ...(region ? { region } : {}),
    ...(endpoint ? { endpoint: endpointOf(endpoint) } : {}),
  }
}

function credentialOf(env: NodeJS.ProcessEnv, profile: string, home: string): BucketCredential {
  const file = env.AWS_SHARED_CREDENTIALS_FILE || join(home, 'credentials')
  const {
    aws_access_key_id: accessKeyId,
    aws_secret_access_key: secretAccessKey,
    aws_session_token: token,
  } = env.AWS_ACCESS_KEY_ID
    ? {
        aws_access_key_id: env.AWS_ACCESS_KEY_ID,
        aws_secret_access_key: env.AWS_SECRET_ACCESS_KEY,
        aws_session_token: env.AWS_SESSION_TOKEN,
      }
    : section(file, [profile])
  if (!accessKeyId || !secretAccessKey)
    throw new VarveError('INVALID_ARGUMENT', `there are no credentials for buckets`, {
      remedy: `set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write the profile ${JSON.stringify(profile)} into ${file}`,
    })
  return { accessKeyId, secretAccessKey, ...(token ? { sessionToken: token } : {}) }
}

function endpointOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new VarveError(
      'INVALID_ARGUMENT',
      'the endpoint of buckets is no http:// or https:// URL without a password',
      {
        remedy: 'set AWS_ENDPOINT_URL_S3 right',
      },
    )
  return url
}

/** The values of the first of these sections that an INI file has; none if there is no file. */
function section(file: string, names: readonly string[]): Readonly<Record<string, string | undefined>> {
  let text: string
  try {
    if (statSync(file).size > maxFileBytes)
      throw new VarveError('FORMAT_INVALID', `${file} has more than ${maxFileBytes} bytes`)
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof VarveError) throw error
    return {}
  }
  const sections = new Map<string, Record<string, string>>()
  let current: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const name = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)?.[1]
    if (name !== undefined) {
      current = sections.get(name) ?? {}
      sections.set(name, current)
      continue
    }
    const [, key, value] = /^([A-Za-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (key !== undefined && value !== undefined) current[key] = value
  }
  return names.map((name) => sections.get(name)).find((it) => it !== undefined) ?? {}
}
