import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from '../errors.js'

/**
 * A name in a directory that is held open. A link that replaces the directory later leads no change
 * elsewhere.
 */
export interface HeldName {
  /** For messages and observers. */
  readonly path: string
  /** The path through the open directory. */
  readonly reached: string
}

export interface HeldDirectory extends Disposable {
  readonly path: string
  names(): string[]
  at(name: string): HeldName
}

/**
 * Refuses a directory that is a link, that another user owns, or that others may use. PATH_INVALID with the
 * remedy.
 */
export function assertOwnDirectory(path: string): void {
  let stat: ReturnType<typeof lstatSync>
  try {
    stat = lstatSync(path)
  } catch (cause) {
    throw new VarveError('PATH_INVALID', `cannot use ${path}: ${(cause as Error).message}`, { cause })
  }
  assertOwn(path, stat)
}

function assertOwn(path: string, stat: ReturnType<typeof lstatSync> & object): void {
  const refusal = (what: string, remedy: string) =>
    new VarveError('PATH_INVALID', `${path} ${what}`, { remedy, details: { path } })
  if (!stat.isDirectory())
    throw refusal(
      stat.isSymbolicLink() ? 'is a symbolic link' : 'is not a directory',
      'put a directory of your own in its place',
    )
  const uid = process.geteuid?.()
  // This holds for root as well: the owner could exchange the directory's content while root works in it.
  if (uid !== undefined && stat.uid !== uid)
    throw refusal(
      `belongs to user ${stat.uid}, not to user ${uid} who runs this process`,
      `run as user ${stat.uid}, or use a directory of your own`,
    )
  if ((Number(stat.mode) & 0o077) !== 0)
    throw refusal(
      `has mode ${(Number(stat.mode) & 0o777).toString(8)}: other users may use what is in it`,
      `chmod 700 ${path}`,
    )
}

/** Opens a directory that `assertOwnDirectory` accepts, without following a link. */
export function holdOwnDirectory(path: string): HeldDirectory {
  assertOwnDirectory(path)
  const held = holdDirectory({ path, reached: path })
  try {
    assertOwn(path, fstatSync(held.fd))
    return held
  } catch (error) {
    held[Symbol.dispose]()
    throw error
  }
}

/** Any directory; ELOOP or ENOTDIR if the name is a link. */
function holdDirectory({ path, reached }: HeldName): HeldDirectory & { readonly fd: number } {
  const fd = openSync(reached, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  const way = `/proc/self/fd/${fd}`
  return {
    path,
    fd,
    names: () => readdirSync(way),
    at: (name) => ({ path: join(path, name), reached: `${way}/${name}` }),
    [Symbol.dispose]: () => closeSync(fd),
  }
}

/** Varve makes no deeper directories, and each level keeps a descriptor open. */
const maxDepth = 64

/** A file (or link), or a directory that is empty once all removals before have been made. */
export interface Removal extends HeldName {
  readonly isDirectory: boolean
}

/**
 * What must be removed, in this order, for a file or a directory to be gone with its content. The caller
 * removes each before it asks for the next. Links are named, never followed. A name that is missing by then
 * is left out. `tooDeep` gets each directory that is more than 64 levels down, and must take it away.
 */
export function* removalsFor(
  place: HeldName,
  tooDeep: (place: HeldName) => void = ({ path }) => {
    throw new VarveError('PATH_INVALID', `${path} is more than ${maxDepth} directories deep`)
  },
  depth = 0,
): Generator<Removal> {
  const stat = lstatSync(place.reached, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isDirectory()) return yield { ...place, isDirectory: false }
  if (depth > maxDepth) return tooDeep(place)
  {
    using directory = unlessMissing(() => holdDirectory(place))
    for (const name of directory?.names() ?? [])
      yield* removalsFor(directory?.at(name) as HeldName, tooDeep, depth + 1)
  }
  yield { ...place, isDirectory: true }
}

function unlessMissing<T>(open: () => T): T | undefined {
  try {
    return open()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
