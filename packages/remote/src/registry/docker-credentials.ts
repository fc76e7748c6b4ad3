import { spawn } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { isVarveError, VarveError } from 'varve'
import { readJsonFile } from 'varve/testing'

/** What a registry is told about the caller. */
export type Credential = PasswordCredential | TokenCredential

/** A user and a password. */
export interface PasswordCredential {
  /** Which kind it is. */
  readonly kind: 'password'
  /** The user's name. */
  readonly user: string
  /** The password, or an access token in its place. */
  readonly password: string
}

/** What some registries give at a login in place of the password. */
export interface TokenCredential {
  /** Which kind it is. */
  readonly kind: 'identity token'
  /** The token. */
  readonly token: string
}

/** Finds the credential for a registry's host; undefined: none, the registry is asked anonymously. */
export type FindCredential = (host: string) => Promise<Credential | undefined>

const maxFileBytes = 1024 * 1024
const helperTimeoutMs = 30_000
const maxHelperBytes = 65_536
/** Docker Hub is known under this name since its first API. */
const hub = 'https://index.docker.io/v1/'

/**
 * The files that `docker login`, `podman login`, `skopeo login` and `oras login` write, the first one with a
 * credential for the host counts.
 */
export function credentialFiles(env: NodeJS.ProcessEnv = process.env): string[] {
  return [
    ...(env.REGISTRY_AUTH_FILE ? [env.REGISTRY_AUTH_FILE] : []),
    join(env.DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json'),
    ...(env.XDG_RUNTIME_DIR ? [join(env.XDG_RUNTIME_DIR, 'containers/auth.json')] : []),
  ]
}

/**
 * Looks into the files of `docker login` and others at each call, so that a new login counts at once.
 * @param host the registry, with its port if it has one
 * @param files where to look, the first one with a credential counts
 */
export async function dockerCredential(
  host: string,
  files: readonly string[] = credentialFiles(),
): Promise<Credential | undefined> {
  for (const file of files) {
    const config = readConfig(file)
    const found = config && (await credentialIn(config, host, file))
    if (found !== undefined) return found
  }
  return undefined
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { auth?: unknown; identitytoken?: unknown }>>
  readonly credHelpers?: Readonly<Record<string, unknown>>
  readonly credsStore?: unknown
}

function readConfig(file: string): DockerConfig | undefined {
  try {
    const value = readJsonFile(file, maxFileBytes)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch (error) {
    if (isVarveError(error, 'NOT_FOUND')) return undefined
    // Without its cause and text: a parser may repeat a part of the file.
    if (isVarveError(error, 'FORMAT_INVALID'))
      throw new VarveError('FORMAT_INVALID', `${file} is not JSON, so it has no credentials`)
    throw error
  }
}

async function credentialIn(
  config: DockerConfig,
  host: string,
  file: string,
): Promise<Credential | undefined> {
  const names =
    host === 'docker.io' || host === 'registry-1.docker.io' ? [host, hub] : [host, `https://${host}`]
  for (const name of names) {
    const helper = own(config.credHelpers, name) ?? config.credsStore
    if (typeof helper === 'string' && helper !== '') {
      const found = await askHelper(helper, name)
      if (found !== undefined) return found
    }
    const entry = own(config.auths, name)
    if (typeof entry !== 'object' || entry === null) continue
    const { auth, identitytoken } = entry
    if (typeof identitytoken === 'string' && identitytoken !== '')
      return { kind: 'identity token', token: identitytoken }
    if (typeof auth !== 'string' || auth === '') continue
    const [user, password] = splitOnce(Buffer.from(auth, 'base64').toString('utf8'))
    if (password === undefined)
      throw new VarveError('FORMAT_INVALID', `${file}: the entry of ${name} is not a user and a password`)
    return { kind: 'password', user, password }
  }
  return undefined
}

/** Runs `docker-credential-NAME get`: the host on its standard input, JSON on its output. */
async function askHelper(name: string, host: string): Promise<Credential | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `the credential helper ${JSON.stringify(name.slice(0, 64))} has no plain name`,
    )
  const program = `docker-credential-${name}`
  const { code, output } = await new Promise<{ code: number | null; output: string }>((resolve, reject) => {
    const child = spawn(program, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: helperTimeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    child.stdout.on('data', (piece: Buffer) => {
      output += piece.toString('utf8')
      if (output.length > maxHelperBytes) child.kill('SIGKILL')
    })
    child.on('error', (cause) =>
      reject(
        new VarveError(
          'HOST_UNSUPPORTED',
          `${program}, which keeps the credentials of ${host}, cannot be run`,
          {
            cause,
            remedy: `install ${program}, or remove it from docker's config.json`,
          },
        ),
      ),
    )
    child.stdin.on('error', () => {
      // It ended without reading; its exit status says why.
    })
    child.on('close', (status) => resolve({ code: status, output }))
    child.stdin.end(host)
  })
  // What it printed is not repeated: it may be a secret.
  if (code !== 0) {
    if (/credentials not found/i.test(output)) return undefined
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `${program} gave no credentials for ${host}: exit status ${code}`,
    )
  }
  const { Username, Secret } = parsedAnswer(output, program)
  if (typeof Secret !== 'string' || Secret === '') return undefined
  return Username === '<token>'
    ? { kind: 'identity token', token: Secret }
    : { kind: 'password', user: String(Username), password: Secret }
}

function parsedAnswer(output: string, program: string): { Username?: unknown; Secret?: unknown } {
  try {
    const value: unknown = JSON.parse(output)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // Reported below, without the text.
  }
  throw new VarveError('HOST_UNSUPPORTED', `${program} did not answer in JSON`)
}

const own = <T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined =>
  typeof record === 'object' && record !== null && Object.hasOwn(record, name) ? record[name] : undefined

function splitOnce(text: string): [string, string | undefined] {
  const at = text.indexOf(':')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}
