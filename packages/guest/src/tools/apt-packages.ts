import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { buildOnce, labCacheDirectory } from './build-cache.js'
import { runTool } from './run-tool.js'

/** `apt-get download` of a kernel (27 MB) over a slow line. */
const downloadTimeoutMs = 10 * 60_000

/** Packages are not fetched again by themselves, so the key says nothing about what is in them. */
const fetchedKey = 'fetched'

/** In an unpacked folder: its archives' names, NAME_VERSION_ARCHITECTURE.deb each. */
const listName = 'packages.txt'

export interface AptOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/** Package names after Debian policy 5.6.1, with an optional `:arch` as apt prints it. */
const packageName = /^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?$/

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, LC_ALL: 'C' })

/**
 * Fetches packages and unpacks them into one folder of the cache, without installing anything: a
 * kernel must not become this machine's boot kernel, and no privilege is needed. Fetched once;
 * delete the cache to get newer ones.
 */
export function unpackedPackages(
  kind: string,
  resolve: () => Promise<readonly string[]>,
  { signal, onProgress }: AptOptions = {},
): Promise<string> {
  return buildOnce(`packages-${kind}`, fetchedKey, async (directory) => {
    const names = await resolve()
    onProgress?.(`fetching ${names.join(' ')}`)
    const downloads = join(directory, 'downloads')
    mkdirSync(downloads)
    const abort = { signal }
    await runTool('apt-get', ['download', '--quiet', '--quiet', ...names], {
      cwd: downloads,
      env: environment(),
      timeoutMs: downloadTimeoutMs,
      ...abort,
    })
    const files = readdirSync(downloads)
      .filter((it) => it.endsWith('.deb'))
      .sort()
    for (const file of files) await runTool('dpkg-deb', ['-x', join(downloads, file), directory], abort)
    await rm(downloads, { recursive: true })
    writeFileSync(join(directory, listName), `${files.join('\n')}\n`)
    // Unpacking gives the folder the archive's own mode.
    chmodSync(directory, 0o700)
  })
}

/**
 * Names, versions and architectures of the packages in an unpacked folder: equal ones have the same files.
 */
export function packageVersions(directory: string): string {
  return readFileSync(join(directory, listName), 'utf8')
}

export function isFetched(kind: string): boolean {
  return existsSync(join(labCacheDirectory(), `packages-${kind}-${fetchedKey}`))
}

/**
 * The named packages and those they need that this machine does not have: what `apt-get install` would add.
 */
export async function withMissingDependencies(
  wanted: readonly string[],
  options: AptOptions = {},
): Promise<string[]> {
  const text = await runTool(
    'apt-get',
    ['install', '--simulate', '--no-install-recommends', '--quiet', ...wanted],
    {
      env: environment(),
      signal: options.signal,
    },
  )
  const names = new Set(wanted)
  for (const line of text.toString('utf8').split('\n')) {
    const added = /^Inst (\S+)/.exec(line)?.[1]
    if (added !== undefined && packageName.test(added)) names.add(added)
  }
  return [...names]
}

/** Direct dependencies of a package by name, as the local package lists have them; none if it is unknown. */
export async function directDependencies(name: string, options: AptOptions = {}): Promise<string[]> {
  const text = await runTool('apt-cache', ['depends', '--important', name], {
    env: environment(),
    signal: options.signal,
  }).catch((error: unknown) => {
    if (options.signal?.aborted || !(error instanceof VarveError)) throw error
    return Buffer.alloc(0)
  })
  return [...text.toString('utf8').matchAll(/^\s+\|?(?:Pre)?Depends: (\S+)$/gm)]
    .map((match) => match[1] as string)
    .filter((it) => packageName.test(it))
}

/** Whether the local package lists know an installable version of the package. */
export async function isInstallable(name: string, options: AptOptions = {}): Promise<boolean> {
  const text = await runTool('apt-cache', ['policy', name], {
    env: environment(),
    signal: options.signal,
  })
  const candidate = /^\s+Candidate: (\S+)$/m.exec(text.toString('utf8'))?.[1]
  return candidate !== undefined && candidate !== '(none)'
}
