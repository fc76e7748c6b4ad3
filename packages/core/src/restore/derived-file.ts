import type { BigIntStats } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, removeFile, renameFile, writeAt } from '../sys/mutations.js'

const markPath = (path: string) => `${path}.mark`
const markOf = ({ size, mtimeNs, ino }: BigIntStats) => `${size} ${mtimeNs} ${ino}\n`

/**
 * Whether a file that was made from layers is as it was when it was made. One that was changed since, or whose making was cut
 * off before the mark, is removed.
 */
export async function isIntact(path: string, pages: number): Promise<boolean> {
  const found = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new VarveError('PATH_INVALID', `cannot use ${path}: ${error.message}`, { cause: error })
  })
  if (found === undefined) return false
  const mark = await readFile(markPath(path), 'utf8').catch(() => '')
  if (found.isFile() && found.size === BigInt(pages) * BigInt(pageSizeBytes) && mark === markOf(found))
    return true
  await removeFile(path)
  return false
}

/** Gives a file that was made elsewhere in the store its name, and the mark. */
export async function publishDerived(staged: string, path: string): Promise<void> {
  await renameFile(staged, path)
  const temporary = `${markPath(path)}.${process.pid}`
  await removeFile(temporary)
  {
    await using file = await createFile(temporary)
    writeAt(file, Buffer.from(markOf(await stat(path, { bigint: true }))), 0)
  }
  await renameFile(temporary, markPath(path))
}
