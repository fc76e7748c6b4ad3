import { constants, ftruncateSync, writeSync } from 'node:fs'
import { type FileHandle, link, mkdir, open, rename, rm, rmdir, unlink } from 'node:fs/promises'
import * as reflink from './reflink.js'

/**
 * Every change that layers and stores make on disk goes through here, one function each, so that a test can stop the
 * process before any one of them (and a reader can see that there are no others).
 */
export type MutationKind =
  | 'create'
  | 'write'
  | 'truncate'
  | 'clone'
  | 'copy'
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
}

let observer: ((mutation: Mutation) => void) | undefined

/** For tests of crash safety: called before each change. Whatever it throws is thrown in place of the change. */
export function observeMutations(observe: ((mutation: Mutation) => void) | undefined): void {
  observer = observe
}

const about = (kind: MutationKind, path: string): void => observer?.({ kind, path })

/** A file being written, with the name that observers and messages know it by. */
export interface WritableFile extends AsyncDisposable {
  readonly path: string
  readonly handle: FileHandle
}

/** A new file (0600), opened for reading and writing; an existing one is EEXIST. */
export async function createFile(path: string): Promise<WritableFile> {
  about('create', path)
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  return writable(path, await open(path, flags, 0o600))
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
  about('write', file.path)
  for (let done = 0; done < bytes.length; )
    done += writeSync(file.handle.fd, bytes, done, bytes.length - done, offset + done)
}

export function truncate(file: WritableFile, sizeBytes: number): void {
  about('truncate', file.path)
  ftruncateSync(file.handle.fd, sizeBytes)
}

/** As `cloneRange` of reflink.ts. */
export function cloneRange(
  fromFd: number,
  fromOffset: number,
  to: WritableFile,
  toOffset: number,
  lengthBytes: number,
): boolean {
  about('clone', to.path)
  return reflink.cloneRange(fromFd, fromOffset, to.handle.fd, toOffset, lengthBytes)
}

/** As `copyFileRange` of reflink.ts. */
export function copyFileRange(
  fromFd: number,
  fromOffset: number,
  to: WritableFile,
  toOffset: number,
  lengthBytes: number,
): number | undefined {
  about('copy', to.path)
  return reflink.copyFileRange(fromFd, fromOffset, to.handle.fd, toOffset, lengthBytes)
}

export async function syncFile(file: WritableFile): Promise<void> {
  about('fsync', file.path)
  await file.handle.sync()
}

/** Makes names that were given or taken in a directory survive a crash of the host. */
export async function syncDirectory(path: string): Promise<void> {
  about('fsync', path)
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** rename(2): replaces an existing file in one step. */
export async function renameFile(from: string, to: string): Promise<void> {
  about('rename', to)
  await rename(from, to)
}

/** link(2): an existing name is EEXIST. */
export async function linkFile(from: string, to: string): Promise<void> {
  about('link', to)
  await link(from, to)
}

/** A missing file is fine. */
export async function removeFile(path: string): Promise<void> {
  about('unlink', path)
  await unlink(path).catch(unlessMissing)
}

/** A new private directory (0700); an existing one is EEXIST. */
export async function makeDirectory(path: string): Promise<void> {
  about('mkdir', path)
  await mkdir(path, { mode: 0o700 })
}

/** With all its content; a missing one is fine. */
export async function removeDirectory(path: string): Promise<void> {
  about('rmdir', path)
  await rm(path, { recursive: true, force: true })
}

/** Only where it is empty; false where it is not. */
export async function removeEmptyDirectory(path: string): Promise<boolean> {
  about('rmdir', path)
  try {
    await rmdir(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY') return false
    unlessMissing(error as NodeJS.ErrnoException)
    return true
  }
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
