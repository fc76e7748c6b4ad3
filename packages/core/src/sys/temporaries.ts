import { lstatSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lockDescriptor, tryLockExisting } from './file-lock.js'
import { createFile, removeFile, type WritableFile } from './mutations.js'
import { isTemporaryName, temporaryName } from './temporary-name.js'

/**
 * A new file under a temporary name in a directory, locked by flock(2) as long as it is open: so another
 * process can tell whether its maker lives.
 */
export async function createLockedTemporary(directory: string): Promise<WritableFile> {
  for (;;) {
    const path = join(directory, temporaryName())
    const file = await createFile(path)
    try {
      // Before the file was locked, another process may have removed it as left over.
      const locked = lockDescriptor(file.handle.fd, path)
      const { ino } = await file.handle.stat()
      if (locked && lstatSync(path, { throwIfNoEntry: false })?.ino === ino) return file
    } catch (error) {
      await file[Symbol.asyncDispose]()
      await removeFile(path)
      throw error
    }
    await file[Symbol.asyncDispose]()
  }
}

/** Removes files that ended processes left in a directory. Skips files that this user cannot open or list. */
export async function removeLeftTemporaries(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => [])
  for (const name of names.filter(isTemporaryName)) {
    const path = join(directory, name)
    const lock = await tryLockExisting(path).catch(() => undefined)
    if (lock === undefined || lock === 'missing') continue
    await using _held = lock
    // A maker removes the name before it closes the file, so if the name is still there, the maker has ended.
    await removeFile(path).catch(() => {})
  }
}
