import { writeFile } from 'node:fs/promises'
import { VarveError } from 'varve'

/** Writes a file (0600) that must not exist yet: ALREADY_EXISTS. */
export async function writeNew(path: string, content: Uint8Array | string): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw new VarveError('ALREADY_EXISTS', `${path} exists already`, {
        remedy: 'name a new file',
        cause: error,
      })
    throw error
  }
}
