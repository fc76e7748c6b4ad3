import { closeSync, constants, ftruncateSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { type FileHandle, link, mkdir, open, rename, rmdir, unlink } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { type HeldName, removalsFor } from './own-directory.js'
import * as reflink from './reflink.js'

/**
 * Every change that layers and stores make on disk goes through here, one function each, so that a
 * test can stop the process before any one of them (and a reader can see that there are no others).
 * A file system that refuses (no space, a quota, read-only, an I/O error) is WRITE_FAILED; other
 * errors keep their errno as `code`.
 */
export type MutationKind =
  | 'create'
  | 'write'
  | 'truncate'
  | 'clone'
  | 'copy'
  | 'punch'
  | 'fsync'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'mkdir'
  | 'rmdir'

export interface Mutation {
  readonly kind: MutationKind
  /** The file or directory that changes; for rename and link the new name. */
  readonly path: string
  /** For rename and link: the name before. */
  readonly from?: string
}

let observer: ((mutation: Mutation) => void) | undefined

/**
 * For tests of crash safety: called before each change. Whatever it throws is thrown in place of the change.
 */
export function observeMutations(observe: ((mutation: Mutation) => void) | undefined): void {
  observer = observe
}

/**
 * The one place that every change passes: observed before, and refused by the file
 * system with a code of its own.
 */
function change<T>(kind: MutationKind, path: string, make: () => T, from?: string): T {
  observer?.(from === undefined ? { kind, path } : { kind, path, from })
  try {
    const made = make()
    return made instanceof Promise ? (made.catch((error: unknown) => refuse(kind, path, error)) as T) : made
  } catch (error) {
    return refuse(kind, path, error)
  }
}

/** What the file system, not the caller, is the cause of. Anything else keeps its errno. */
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'make room there (`varve gc` removes what no snapshot needs), then try again',
  EDQUOT: 'make room within the quota, then try again',
  EROFS: 'use a directory that can be written to',
  EIO: 'look at the kernel log (dmesg): the disk may be failing',
  EFBIG: 'raise the file-size limit (ulimit -f), or use another file system',
}

/** Throws the error of a change, as WRITE_FAILED if the file system is the cause. */
export function refuse(kind: MutationKind, path: string, error: unknown): never {
  const { code, message, details } = error as NodeJS.ErrnoException & Partial<VarveError>
  const errno = String(code === 'SYSCALL_FAILED' ? details?.errno : code)
  throw writeFailed(errno, path, `${kind} of ${path}: ${message}`, error) ?? error
}

/**
 * WRITE_FAILED with a remedy if the file system itself gives this error (`ENOSPC`, for example); undefined
 * for any other.
 */
export function writeFailed(
  errno: string,
  path: string,
  message: string,
  cause: unknown,
): VarveError | undefined {
  const remedy = Object.hasOwn(remedies, errno) ? remedies[errno] : undefined
  if (remedy === undefined) return undefined
  return new VarveError('WRITE_FAILED', message, { cause, remedy, details: { path, errno } })
}

/** A file being written, with the name that observers and messages know it by. */
export interface WritableFile extends AsyncDisposable {
  readonly path: string
  readonly handle: FileHandle
}

const newFile = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/** A new file (0600), opened for reading and writing; an existing one is EEXIST. */
export async function createFile(path: string): Promise<WritableFile> {
  return writable(path, await change('create', path, () => open(path, newFile, 0o600)))
}

/** An existing file for appending a footer or syncing. Symbolic links are ELOOP; a FIFO is not waited for. */
export async function openForWriting(path: string): Promise<WritableFile> {
  return writable(path, await open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK))
}

function writable(path: string, handle: FileHandle): WritableFile {
  return { path, handle, [Symbol.asyncDispose]: () => handle.close() }
}

/** Writes all of `bytes` at `offset`, in this thread: callers keep one call to some MiB. */
export function writeAt(file: WritableFile, bytes: Uint8Array, offset: number): void {
  change('write', file.path, () => {
    for (let done = 0; done < bytes.length; )
      done += writeSync(file.handle.fd, bytes, done, bytes.length - done, offset + done)
  })
}

export function truncate(file: WritableFile, sizeBytes: number): void {
  change('truncate', file.path, () => ftruncateSync(file.handle.fd, sizeBytes))
}

/** As `cloneRange` of reflink.ts. */
export function cloneRange(
  fromFd: number,
  fromOffset: number,
  to: WritableFile,
  toOffset: number,
  lengthBytes: number,
): boolean {
  return change('clone', to.path, () =>
    reflink.cloneRange(fromFd, fromOffset, to.handle.fd, toOffset, lengthBytes),
  )
}

/** As `copyFileRange` of reflink.ts. */
export function copyFileRange(
  fromFd: number,
  fromOffset: number,
  to: WritableFile,
  toOffset: number,
  lengthBytes: number,
): number | undefined {
  return change('copy', to.path, () =>
    reflink.copyFileRange(fromFd, fromOffset, to.handle.fd, toOffset, lengthBytes),
  )
}

/** As `allocate` of reflink.ts. */
export function allocate(file: WritableFile, lengthBytes: number): boolean {
  return change('write', file.path, () => reflink.allocate(file.handle.fd, lengthBytes))
}

/** As `punchHole` of reflink.ts. */
export function punchHole(file: WritableFile, offset: number, lengthBytes: number): boolean {
  return change('punch', file.path, () => reflink.punchHole(file.handle.fd, offset, lengthBytes))
}

export async function syncFile(file: WritableFile): Promise<void> {
  await change('fsync', file.path, () => file.handle.sync())
}

/** Makes names that were given or taken in a directory survive a crash of the host. */
export async function syncDirectory(path: string): Promise<void> {
  await change('fsync', path, async () => {
    await using handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
    await handle.sync()
  })
}

/**
 * A small file whose content replaces another's in one step, by way of a new file next to it. Not synced. In
 * this thread: 60 µs, where the thread pool takes half a millisecond.
 */
export function replaceSmallFile(path: string, temporary: string, bytes: Uint8Array): void {
  closeSync(publishSmallFile(path, temporary, bytes))
}

/**
 * The same for a file that stays open: `prepare` gets its descriptor (to lock it, for example) before the
 * file has its name.
 */
export function publishSmallFile(
  path: string,
  temporary: string,
  bytes: Uint8Array,
  prepare: (fd: number) => void = () => {},
): number {
  const fd = change('create', temporary, () => openSync(temporary, newFile, 0o600))
  try {
    prepare(fd)
    change('write', temporary, () => {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, done)
    })
    change('rename', path, () => renameSync(temporary, path), temporary)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** A missing file is fine. In this thread: for what takes no time to give back. */
export function removeSmallFile(path: string): void {
  try {
    change('unlink', path, () => unlinkSync(path))
  } catch (error) {
    unlessMissing(error as NodeJS.ErrnoException)
  }
}

/** Named by its path, or relative to a directory that is held open. */
type Place = string | HeldName
const nameOf = (place: Place) => (typeof place === 'string' ? place : place.path)
const wayTo = (place: Place) => (typeof place === 'string' ? place : place.reached)

/** rename(2): replaces an existing file in one step. */
export async function renameFile(from: Place, to: Place): Promise<void> {
  await change('rename', nameOf(to), () => rename(wayTo(from), wayTo(to)), nameOf(from))
}

/** The same in this thread: 15 µs; the thread pool takes ten times as long. For many files in a row. */
export function renameSmallFile(from: Place, to: Place): void {
  change('rename', nameOf(to), () => renameSync(wayTo(from), wayTo(to)), nameOf(from))
}

/** link(2): an existing name is EEXIST. */
export async function linkFile(from: string, to: string): Promise<void> {
  await change('link', to, () => link(from, to), from)
}

/** A missing file is fine. */
export async function removeFile(place: Place): Promise<void> {
  await change('unlink', nameOf(place), () => unlink(wayTo(place))).catch(unlessMissing)
}

/** A new private directory (0700); an existing one is EEXIST. */
export async function makeDirectory(path: string): Promise<void> {
  await change('mkdir', path, () => mkdir(path, { mode: 0o700 }))
}

/** With all its content; links are removed and not followed; a missing one is fine. */
export async function removeDirectory(place: Place): Promise<void> {
  const held = { path: nameOf(place), reached: wayTo(place) }
  await change('rmdir', held.path, async () => {
    for (const { reached, isDirectory } of removalsFor(held))
      await (isDirectory ? rmdir : unlink)(reached).catch(unlessMissing)
  })
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
