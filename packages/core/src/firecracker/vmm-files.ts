import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  rmSync,
  unlinkSync,
} from 'node:fs'
import { type FileHandle, lchown, link, open, realpath, stat, symlink } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { notFound } from '../not-found.js'
import { copyWithHoles } from '../sys/copy-with-holes.js'
import { dropName } from '../sys/drop-name.js'
import { hasWriters } from '../sys/has-writers.js'
import { descriptorPath, linkDescriptor, openHandleBeneath, openPathBeneath } from '../sys/open-beneath.js'

/** A file that Firecracker writes. */
export interface OutputFile {
  /** Where it is on the host after `commit`. */
  readonly hostPath: string
  /** Its path as Firecracker must be told it. */
  readonly vmmPath: string
  /** Makes it now, empty, with the owner that Firecracker needs. Gives its path on the host. */
  make(): string
  commit(): Promise<void>
  discard(): void
}

interface FileOptions {
  readonly signal?: AbortSignal | undefined
}

/**
 * How a host file comes into Firecracker's working directory. `shared`: what Firecracker writes
 * goes to the very file. `read-only`: shared if that can be, else a copy. `copy`: a private copy,
 * which goes with the directory.
 */
export type Placement = 'shared' | 'read-only' | 'copy'

/**
 * How Firecracker sees the host's files. Without a jailer every path is the host's own. In a jail, inputs are
 * linked (or copied, if the jail's user does not own them) under its root, and outputs are moved out of
 * it. A jail's root belongs to a user who is not trusted, and who may change everything in it at any moment.
 * So no operation of this process there follows a symbolic link in any part of a path (`openBeneath`). This
 * process itself gives only names of one part there, and never removes such a name recursively.
 */
export interface VmmFiles {
  /** Path, as Firecracker must be told it, of an existing host file that it only reads. */
  input(hostPath: string, options?: FileOptions): Promise<string>
  /** Where Firecracker writes a new file; `commit` moves it to `hostPath`, `discard` drops it. */
  output(hostPath: string): OutputFile
  /**
   * A file name in Firecracker's working directory: as the host and as Firecracker name it. Relative in a
   * jail too, so that a snapshot which names it can be restored with or without one.
   */
  local(name: string): { readonly hostPath: string; readonly vmmPath: string }
  /**
   * Makes a regular host file (or block device, unless copied or in a jail) be there under
   * `local(name)`. Errors: NOT_FOUND, PATH_INVALID (the file cannot be shared with a jail),
   * ALREADY_EXISTS (the name), those of copyWithHoles. `hostPath` is that file.
   */
  place(name: string, hostPath: string, how: Placement, options?: FileOptions): Promise<void>
  /**
   * The real path of the host file that a path of Firecracker's leads to; undefined if there is none. In a
   * jail it can be another file a moment later: use it for messages and comparisons only, and `open` for
   * content.
   */
  locate(vmmPath: string): Promise<string | undefined>
  /**
   * Opens the file for reading; in a jail only a file that lies in the jail. Errors as open(2) gives them.
   */
  open(vmmPath: string): Promise<FileHandle>
}

/** `sun_path` holds 108 bytes with the terminating zero (unix(7)). */
const maxSocketPathBytes = 107

export function assertSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path)
  if (bytes > maxSocketPathBytes)
    throw new VarveError(
      'PATH_INVALID',
      `socket path ${path} has ${bytes} bytes, more than ${maxSocketPathBytes}`,
      {
        remedy: 'set $VARVE_RUNTIME_DIR to a shorter directory',
      },
    )
  return path
}

export function hostFiles(workingDirectory: string): VmmFiles {
  const local = (name: string) => ({ hostPath: join(workingDirectory, name), vmmPath: name })
  return {
    input: async (hostPath) => resolve(hostPath),
    output: (hostPath) => {
      const vmmPath = resolve(hostPath)
      return {
        hostPath: vmmPath,
        vmmPath,
        make: () => makeEmpty(vmmPath),
        commit: async () => {},
        discard: () => rmSync(vmmPath, { force: true }),
      }
    },
    local,
    place: async (name, hostPath, how, options) => {
      const source = await existing(hostPath)
      const { hostPath: place } = local(name)
      if (how === 'copy') await copyWithHoles(source, place, options)
      else await symlink(source, place).catch(nameTaken(place))
    },
    locate: (vmmPath) => real(resolve(workingDirectory, vmmPath)),
    open: (vmmPath) => open(resolve(workingDirectory, vmmPath), constants.O_RDONLY | constants.O_NONBLOCK),
  }
}

export function jailFiles(root: string, owner: { readonly uid: number; readonly gid: number }): VmmFiles {
  const local = (name: string) => ({ hostPath: join(root, name), vmmPath: name })
  const copy = async (source: string, place: string, options?: FileOptions) => {
    await copyWithHoles(source, place, options)
    await lchown(place, owner.uid, owner.gid)
  }
  const place = async (name: string, hostPath: string, how: Placement, options?: FileOptions) => {
    const source = await existing(hostPath)
    const { hostPath: target } = local(name)
    if (how === 'copy') return copy(source, target, options)
    const obstacle = await linkFor(owner, source, target)
    if (obstacle === undefined) return
    if (how === 'read-only') return copy(source, target, options)
    throw new VarveError('PATH_INVALID', `${hostPath} cannot be shared with the jail ${root}: ${obstacle}`, {
      remedy: `keep it on the file system of the jail (chrootBaseDir) and give it to uid ${owner.uid}, or attach it read-only`,
    })
  }
  return {
    input: async (hostPath, options) => {
      const name = `in-${fresh()}`
      await place(name, hostPath, 'read-only', options)
      return local(name).vmmPath
    },
    output: (hostPath) => {
      const { hostPath: inside, vmmPath } = local(`out-${fresh()}`)
      return {
        hostPath: resolve(hostPath),
        vmmPath,
        make: () => makeEmpty(inside, owner),
        commit: () => moveOut(root, vmmPath, resolve(hostPath)),
        discard: () => dropName(inside),
      }
    },
    local,
    place,
    locate: async (vmmPath) => {
      const place = join(await realpath(root), resolve('/', vmmPath))
      const found = await real(place)
      if (found !== undefined && found !== place)
        throw new VarveError('PATH_INVALID', `${vmmPath} in the jail ${root} is a symbolic link`)
      return found
    },
    open: (vmmPath) => openHandleBeneath(root, relative('/', resolve('/', vmmPath))),
  }
}

/** Only where nothing has that name: no link is followed. */
function makeEmpty(path: string, owner?: { readonly uid: number; readonly gid: number }): string {
  const fd = openSync(path, 'wx', 0o600)
  try {
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid)
  } finally {
    closeSync(fd)
  }
  return path
}

/** Not counted: another process may have given names in this jail before. */
const fresh = () => randomBytes(6).toString('hex')

async function existing(hostPath: string): Promise<string> {
  const found = await real(resolve(hostPath))
  if (found === undefined)
    throw notFound('file', `there is no file ${hostPath}`, { details: { path: hostPath } })
  return found
}

function real(path: string): Promise<string | undefined> {
  return realpath(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot use ${path}: ${error.message}`, { cause: error })
  })
}

function nameTaken(place: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    throw error.code === 'EEXIST'
      ? new VarveError('ALREADY_EXISTS', `${place} exists and is not overwritten`, { cause: error })
      : error
  }
}

/** Links a file into the jail if its user owns it; otherwise says what is in the way. */
async function linkFor(
  owner: { readonly uid: number },
  from: string,
  to: string,
): Promise<string | undefined> {
  const { uid } = await stat(from)
  if (uid !== owner.uid) return `uid ${uid} owns it, not ${owner.uid}`
  try {
    await link(from, to)
    return undefined
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    if (['EXDEV', 'EPERM', 'EMLINK'].includes(code)) return message
    return nameTaken(to)(error as NodeJS.ErrnoException)
  }
}

/**
 * Moves a file out of the jail and gives it to this process's user. The file that was checked is the one that
 * comes out: the jail's user can put another one under that name at any moment, also a directory or a second
 * name of another file. If the jail's user still has the file open for writing, a copy comes out.
 */
async function moveOut(root: string, name: string, to: string): Promise<void> {
  const from = join(root, name)
  const failed = (cause: Error) =>
    new VarveError('PATH_INVALID', `cannot move ${from} to ${to}: ${cause.message}`, { cause })
  let fd: number
  try {
    fd = openPathBeneath(root, name)
  } catch (error) {
    throw failed(error as Error)
  }
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile() || stat.nlink !== 1)
      throw new VarveError(
        'PATH_INVALID',
        `${from} is not a regular file with a single name, as Firecracker writes it`,
      )
    const linked = linkOut(fd, to, failed)
    if (!linked || !takeOver(fd)) {
      if (linked) unlinkSync(to)
      const content = () => open(descriptorPath(fd), constants.O_RDONLY | constants.O_NONBLOCK)
      await copyWithHoles({ path: from, open: content }, to)
    }
  } finally {
    closeSync(fd)
  }
  dropName(from)
}

/** False if the file must be copied: it is on another file system, or on one without hard links. */
function linkOut(fd: number, to: string, failed: (cause: Error) => Error): boolean {
  try {
    linkDescriptor(fd, to)
    return true
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP'].includes(code)) return false
    throw failed(error as Error)
  }
}

/**
 * Gives a file (O_PATH) to this process's user alone. False if another process can still write to it. A
 * process that opens it later cannot: the owner and the mode come first, then the look for writers.
 */
function takeOver(path: number): boolean {
  const fd = openSync(descriptorPath(path), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    fchownSync(fd, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
    fchmodSync(fd, 0o600)
    return hasWriters(fd) === false
  } finally {
    closeSync(fd)
  }
}
