import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import { pathError } from '../not-found.js'
import {
  linkFile,
  removeFile,
  renameFile,
  syncDirectory,
  syncFile,
  type WritableFile,
} from '../sys/mutations.js'
import { createLockedTemporary, removeLeftTemporaries } from '../sys/temporaries.js'

/**
 * Makes a file (0600) that is either not there or whole: written under a temporary name in the same
 * directory, synced, given its name, and the directory synced. Refuses to overwrite. When `write` fails
 * nothing is left; what a process that was killed left in this directory is removed. WRITE_FAILED if the file
 * system refuses.
 */
export async function publishFile<Result>(
  path: string,
  write: (file: WritableFile) => Promise<Result>,
): Promise<Result> {
  await assertAbsent(path)
  await removeLeftTemporaries(dirname(path))
  const file = await createTemporary(path)
  const temporary = file.path
  try {
    // The file stays open, and so locked, until its temporary name is gone: otherwise another process would
    // remove it as left over.
    await using _open = file
    const result = await write(file)
    await syncFile(file)
    await giveName(temporary, path)
    // Before the directory is synced: a crash must not bring the temporary name
    // back, as a second one of the file.
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

async function createTemporary(path: string): Promise<WritableFile> {
  return createLockedTemporary(dirname(path)).catch((error: NodeJS.ErrnoException) => {
    if (error instanceof VarveError) throw explain(error, path)
    if (error.code === undefined) throw error
    throw pathError(error, `cannot write in the directory of ${path}: ${error.message}`, {
      kind: 'directory',
      details: { path },
    })
  })
}

/**
 * link(2) fails if the name was taken meanwhile; rename(2) would replace it, so it is only
 * for file systems without links.
 */
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

/**
 * A failed write names the file that was asked for, not the temporary one; everything else stays what it is.
 */
function explain(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (isVarveError(error, 'WRITE_FAILED'))
    return new VarveError('WRITE_FAILED', `cannot write ${path}: ${message}`, {
      cause: error,
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
      details: { ...error.details, path },
    })
  if (error instanceof VarveError || typeof code !== 'string') return error
  return new VarveError('SYSCALL_FAILED', `cannot write ${path}: ${message}`, {
    cause: error,
    details: { path, errno: code },
  })
}

function alreadyExists(path: string): VarveError {
  return new VarveError('ALREADY_EXISTS', `${path} exists and is not overwritten`, {
    remedy: 'choose another name or remove it first',
  })
}
