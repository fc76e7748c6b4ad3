import { accessSync, constants, readdirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'

/** Names of binaries in a build (`firecracker`) or a release (`firecracker-v1.16.1-x86_64`). */
const isFirecrackerName = (name: string): boolean =>
  /^firecracker(-v\d[\w.-]*)?$/.test(name) && !name.endsWith('.debug')

/** A folder of binaries has a few dozen entries; a larger folder is something else. */
const maxEntries = 1000
/** Each is run once to ask for its version. */
const maxBinaries = 64

/** The Firecrackers of a folder. */
export interface BinaryFolder {
  /** Real paths, without links; each appears once. */
  readonly paths: readonly string[]
  /** Files that are there but must not be run, and why. */
  readonly refused: readonly string[]
}

/**
 * Finds the Firecrackers in a folder and in its subfolders (`release-v1.16.1-x86_64/`, `1.16.1/`). They run
 * with the rights of this process, so only files count that no other user can have put there or changed.
 * BINARY_NOT_FOUND if the folder cannot be listed.
 */
export function binariesIn(folder: string): BinaryFolder {
  const paths = new Set<string>()
  const refused: string[] = []
  const look = (inside: string, names: readonly string[]) => {
    for (const name of names.filter(isFirecrackerName)) {
      const path = join(inside, name)
      const found = lookAt(path)
      if (found === undefined) continue
      if ('real' in found) paths.add(found.real)
      else refused.push(`${path} ${found.problem}`)
    }
    if (paths.size > maxBinaries)
      throw new VarveError('BINARY_NOT_FOUND', `${folder} has more than ${maxBinaries} Firecrackers`, {
        remedy: 'name a folder with fewer, or one of its binaries',
      })
  }
  const names = list(folder)
  look(folder, names)
  for (const name of names) {
    const inside = join(folder, name)
    if (statOf(inside)?.isDirectory() !== true) continue
    try {
      look(inside, list(inside))
    } catch (error) {
      // One folder that is not for binaries must not keep the others from being used.
      if (!isVarveError(error, 'BINARY_NOT_FOUND') || paths.size > maxBinaries) throw error
      refused.push(error.message)
    }
  }
  return { paths: [...paths], refused }
}

function list(folder: string): string[] {
  let names: string[]
  try {
    names = readdirSync(folder).sort()
  } catch (cause) {
    throw new VarveError('BINARY_NOT_FOUND', `cannot list ${folder}: ${(cause as Error).message}`, {
      cause,
      remedy: 'name a folder of Firecracker binaries, or none',
    })
  }
  if (names.length <= maxEntries) return names
  throw new VarveError('BINARY_NOT_FOUND', `${folder} has ${names.length} entries, more than ${maxEntries}`, {
    remedy: 'name a folder that has Firecracker binaries only',
  })
}

/** Undefined if it is no file, or is removed meanwhile. */
function lookAt(path: string): { readonly real: string } | { readonly problem: string } | undefined {
  try {
    const real = realpathSync(path)
    const stat = statSync(real)
    if (!stat.isFile()) return undefined
    const problem = problemWith(real, [
      ['it', stat],
      ['its folder', statSync(dirname(real))],
      ['its folder', statSync(dirname(path))],
    ])
    return problem === undefined ? { real } : { problem }
  } catch {
    return undefined
  }
}

function problemWith(path: string, held: readonly (readonly [string, Stats])[]): string | undefined {
  try {
    accessSync(path, constants.X_OK)
  } catch {
    return 'is not executable'
  }
  for (const [what, { uid, mode }] of held) {
    if (uid !== 0 && uid !== process.getuid?.()) return `is not run: ${what} belongs to uid ${uid}`
    if ((mode & 0o022) !== 0) return `is not run: other users may write to ${what}`
  }
  return undefined
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}
