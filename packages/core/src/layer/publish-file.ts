import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'
import {
  createFile,
  linkFile,
  removeFile,
  renameFile,
  syncDirectory,
  syncFile,
  type WritableFile,
} from '../sys/mutations.js'

/**
 * Makes a file (0600) that is either not there or whole: written under a temporary name in the same directory, synced,
 * given its name, and the directory synced. Refuses to overwrite. When `write` fails nothing is left.
 */
export async function publishFile<Result>(
  path: string,
  write: (file: WritableFile) => Promise<Result>,
): Promise<Result> {
  await assertAbsent(path)
  const temporary = join(dirname(path), `.varve-tmp-${randomBytes(8).toString('hex')}`)
  const file = await createTemporary(temporary, path)
  try {
    let result: Result
    try {
      result = await write(file)
      await syncFile(file)
    } finally {
      await file[Symbol.asyncDispose]()
    }
    await giveName(temporary, path)
    // Before the directory is synced: a crash must not bring the temporary name back, as a second one of the file.
    await removeFile(temporary)
    await syncDirectory(dirname(path))
    return result
  } catch (error) {
    await removeFile(temporary)
    throw explain(error, path)
  }
}

async function assertAbsent(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot make ${path}: ${error.message}`, { cause: error })
  })
  if (found !== undefined) throw alreadyExists(path)
}

async function createTemporary(temporary: string, path: string): Promise<WritableFile> {
  return createFile(temporary).catch((error: NodeJS.ErrnoException) => {
    if (error.code === undefined) throw error
    throw pathError(error, `cannot write in the directory of ${path}: ${error.message}`, {
      kind: 'directory',
      details: { path },
    })
  })
}

/** link(2) fails where the name was taken meanwhile; rename(2) would replace it, so it is only for file systems without links. */
async function giveName(temporary: string, path: string): Promise<void> {
  try {
    await linkFile(temporary, path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw alreadyExists(path)
    if (code !== 'EPERM' && code !== 'EOPNOTSUPP') throw error
    await assertAbsent(path)
    await renameFile(temporary, path)
  }
}

/** A failed write names the file that was asked for, not the temporary one; everything else stays what it is. */
function explain(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  const errno = error instanceof VarveError ? error.details.errno : code
  if (errno === 'ENOSPC' || errno === 'EDQUOT')
    return new VarveError('SYSCALL_FAILED', `cannot write ${path}: ${message}`, {
      cause: error,
      remedy: 'free space, or choose a directory on another file system',
      details: { path, errno },
    })
  if (error instanceof VarveError || typeof errno !== 'string') return error
  return new VarveError('SYSCALL_FAILED', `cannot write ${path}: ${message}`, {
    cause: error,
    details: { path, errno },
  })
}

function alreadyExists(path: string): VarveError {
  return new VarveError('ALREADY_EXISTS', `${path} exists and is not overwritten`, {
    remedy: 'choose another name or remove it first',
  })
}
