import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { createFile, removeFile, renameFile, syncDirectory, syncFile, writeAt } from '../sys/mutations.js'

/** Gives a file new content in one step: whoever reads it, or comes after a crash, finds the old or the new one. */
export async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  await writeAside(path, content, true)
  await syncDirectory(dirname(path))
}

/** gc takes every half-written file for left over; whoever is just writing one writes it again. */
const attempts = 5

/** The same for what may be lost in a crash of the host, but not be read half-written. */
export async function replaceCachedFile(path: string, content: Uint8Array): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      return await writeAside(path, content, false)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
    }
}

async function writeAside(path: string, content: Uint8Array, durable: boolean): Promise<void> {
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`
  try {
    {
      await using file = await createFile(temporary)
      writeAt(file, content, 0)
      if (durable) await syncFile(file)
    }
    await renameFile(temporary, path)
  } catch (error) {
    await removeFile(temporary)
    throw error
  }
}

/** A new file with this content, synced. */
export async function writeNewFile(path: string, content: Uint8Array): Promise<void> {
  await using file = await createFile(path)
  writeAt(file, content, 0)
  await syncFile(file)
}
