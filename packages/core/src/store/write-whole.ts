import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { lockDescriptor } from '../sys/file-lock.js'
import { type HeldLife, heldLife } from '../sys/life-lock.js'
import {
  createFile,
  publishSmallFile,
  removeFile,
  removeSmallFile,
  renameFile,
  replaceSmallFile,
  syncDirectory,
  syncFile,
  writeAt,
} from '../sys/mutations.js'

const temporaryOf = (path: string) => `${path}.tmp-${randomBytes(6).toString('hex')}`

/** Gives a file new content in one step: a reader, also after a crash, finds the old or the new one. */
export async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  const temporary = temporaryOf(path)
  try {
    await writeNewFile(temporary, content)
    await renameFile(temporary, path)
  } catch (error) {
    await removeFile(temporary)
    throw error
  }
  await syncDirectory(dirname(path))
}

/** gc takes every half-written file for left over; a process that is just writing one writes it again. */
const attempts = 5

/** The same for what may be lost in a crash of the host, but not be read half-written. */
export function replaceCachedFile(path: string, content: Uint8Array): void {
  again(path, (temporary) => replaceSmallFile(path, temporary, content))
}

/** A small file that this process locks before the file gets its name, until it is released. */
export function writeHeldFile(path: string, content: Uint8Array): HeldLife {
  return again(path, (temporary) =>
    heldLife(
      publishSmallFile(path, temporary, content, (fd) => {
        if (!lockDescriptor(fd, temporary)) throw new Error(`${temporary} is locked by another process`)
      }),
      path,
    ),
  )
}

function again<T>(path: string, write: (temporary: string) => T): T {
  for (let attempt = 1; ; attempt++) {
    const temporary = temporaryOf(path)
    try {
      return write(temporary)
    } catch (error) {
      removeSmallFile(temporary)
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
    }
  }
}

/** A new file with this content, synced. */
export async function writeNewFile(path: string, content: Uint8Array): Promise<void> {
  await using file = await createFile(path)
  writeAt(file, content, 0)
  await syncFile(file)
}
