import { accessSync, constants, readdirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { VarveError } from '../errors.js'

/** Of a build, or of a release: `firecracker`, `firecracker-v1.16.1-x86_64`. */
const isFirecrackerName = (name: string): boolean =>
  /^firecracker(-v\d[\w.-]*)?$/.test(name) && !name.endsWith('.debug')

/** A folder of binaries has a few dozen; anything else is another folder. */
const maxEntries = 1000

export interface BinaryFolder {
  /** Without links, each once. */
  readonly paths: readonly string[]
  /** What is there and is not to be run, and why. */
  readonly refused: readonly string[]
}

/**
 * The Firecrackers in a folder and in its folders (`release-v1.16.1-x86_64/`, `1.16.1/`). They are run with the rights of this
 * process, so that only files count that no other user can have put there or changed. BINARY_NOT_FOUND if the folder cannot be
 * listed.
 */
export function binariesIn(folder: string): BinaryFolder {
  const paths = new Set<string>()
  const refused: string[] = []
  const look = (inside: string) => {
    for (const name of list(inside).filter(isFirecrackerName)) {
      const path = join(inside, name)
      const stat = statOf(path)
      if (stat?.isFile() !== true) continue
      const problem = problemWith(path, stat)
      if (problem === undefined) paths.add(realpathSync(path))
      else refused.push(`${path} ${problem}`)
    }
  }
  look(folder)
  for (const name of list(folder)) {
    const inside = join(folder, name)
    if (statOf(inside)?.isDirectory() === true) look(inside)
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
      remedy: 'set $VARVE_FIRECRACKER_DIR to a folder of Firecracker binaries, or unset it',
    })
  }
  if (names.length <= maxEntries) return names
  throw new VarveError('BINARY_NOT_FOUND', `${folder} has ${names.length} entries, more than ${maxEntries}`, {
    remedy: 'set $VARVE_FIRECRACKER_DIR to a folder that has Firecracker binaries only',
  })
}

function problemWith(path: string, stat: Stats): string | undefined {
  try {
    accessSync(path, constants.X_OK)
  } catch {
    return 'is not executable'
  }
  const real = realpathSync(path)
  for (const [what, { uid, mode }] of [
    ['it', stat],
    ['its folder', statSync(dirname(real))],
    ['its folder', statSync(dirname(path))],
  ] as const) {
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
