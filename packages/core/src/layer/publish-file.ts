import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VarveError } from '../errors.js'

/**
 * Makes a file (0600) that is either not there or whole: written under a temporary name in the same directory, synced,
 * given its name, and the directory synced. Refuses to overwrite. When `write` fails nothing is left.
 */
export async function publishFile<Result>(
  path: string,
  write: (handle: FileHandle) => Promise<Result>,
): Promise<Result> {
  await assertAbsent(path)
  const temporary = join(dirname(path), `.varve-tmp-${randomBytes(8).toString('hex')}`)
  const handle = await openNew(temporary, path)
  try {
    let result: Result
    try {
      result = await write(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await giveName(temporary, path)
    await syncDirectory(dirname(path))
    return result
  } finally {
    await rm(temporary, { force: true })
  }
}

async function assertAbsent(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot make ${path}: ${error.message}`, { cause: error })
  })
  if (found !== undefined) throw alreadyExists(path)
}

async function openNew(temporary: string, path: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  return open(temporary, flags, 0o600).catch((error: NodeJS.ErrnoException) => {
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot write in the directory of ${path}: ${error.message}`, { cause: error })
  })
}

/** link(2) fails where the name was taken meanwhile; rename(2) would replace it, so it is only for file systems without links. */
async function giveName(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw alreadyExists(path)
    if (code !== 'EPERM' && code !== 'EOPNOTSUPP') throw error
    await assertAbsent(path)
    await rename(temporary, path)
  }
}

function alreadyExists(path: string): VarveError {
  return new VarveError('ALREADY_EXISTS', `${path} exists and is not overwritten`, {
    remedy: 'choose another name or remove it first',
  })
}

/** Makes names that were given or taken in a directory survive a crash of the host. */
export async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync()
}
