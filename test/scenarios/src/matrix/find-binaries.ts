import { realpathSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import {
  binariesIn,
  type FirecrackerBinary,
  findFirecracker,
  formatFirecrackerVersion,
  VarveError,
} from 'varve'
import { isExecutable } from 'varve/testing'

/** One column of the matrix. */
export interface MatrixBinary {
  /** Its version, with a number if several have the same one; the file's name if it tells no version. */
  readonly label: string
  readonly path: string
  readonly binary: FirecrackerBinary | null
  /** Why it cannot be used, if `binary` is null. */
  readonly problem: string | null
}

const maxBinaries = 64

/**
 * The Firecrackers that the paths lead to, each once, oldest first: an executable file is one, a folder has
 * those that Varve would run from it (`binariesIn`). Without paths: what is in `$VARVE_FIRECRACKER_DIR`, and
 * what `findFirecracker` finds. Errors: BINARY_NOT_FOUND.
 */
export async function findBinaries(
  paths: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<readonly MatrixBinary[]> {
  const given = paths.length > 0 ? paths : env.VARVE_FIRECRACKER_DIR ? [env.VARVE_FIRECRACKER_DIR] : []
  const files = new Set(given.flatMap(binariesAt).map((path) => realpathSync(path)))
  if (paths.length === 0)
    try {
      files.add(realpathSync((await findFirecracker({ env })).path))
    } catch (error) {
      if (files.size === 0) throw error
    }
  if (files.size > maxBinaries)
    throw new VarveError('USAGE', `${files.size} binaries are more than ${maxBinaries}`)
  const described = await Promise.all([...files].map((path) => describe(path, env)))
  return labelled(described.sort(byVersion))
}

function binariesAt(path: string): readonly string[] {
  const info = statSync(path, { throwIfNoEntry: false })
  if (info === undefined)
    throw new VarveError('BINARY_NOT_FOUND', `there is no ${path}`, {
      remedy: 'name a Firecracker binary, or a folder with binaries',
    })
  if (!info.isDirectory()) {
    if (isExecutable(path)) return [path]
    throw new VarveError('BINARY_NOT_FOUND', `${path} is not an executable file`)
  }
  const { paths: found, refused } = binariesIn(path)
  if (found.length > 0) return found
  const because = refused.length === 0 ? '' : ` (${refused.slice(0, 5).join('; ')})`
  throw new VarveError('BINARY_NOT_FOUND', `no Firecracker in ${path}, nor in its folders${because}`, {
    remedy: 'binaries there are named firecracker, or as in a release: firecracker-v1.16.1-x86_64',
  })
}

async function describe(path: string, env: NodeJS.ProcessEnv): Promise<Omit<MatrixBinary, 'label'>> {
  try {
    return { path, binary: await findFirecracker({ env, firecracker: path }), problem: null }
  } catch (error) {
    return { path, binary: null, problem: error instanceof Error ? error.message : String(error) }
  }
}

/** Binaries without a version come last. */
function byVersion(a: Omit<MatrixBinary, 'label'>, b: Omit<MatrixBinary, 'label'>): number {
  const [one, other] = [a.binary?.version, b.binary?.version]
  if (one === undefined || other === undefined) return Number(one === undefined) - Number(other === undefined)
  return one.major - other.major || one.minor - other.minor || one.patch - other.patch
}

function labelled(binaries: readonly Omit<MatrixBinary, 'label'>[]): readonly MatrixBinary[] {
  const seen = new Map<string, number>()
  return binaries.map((it) => {
    const name = it.binary === null ? basename(it.path) : formatFirecrackerVersion(it.binary.version)
    const count = (seen.get(name) ?? 0) + 1
    seen.set(name, count)
    return { label: count === 1 ? name : `${name} (${count})`, ...it }
  })
}
