import { type BigIntStats, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, removeFile, renameFile, writeAt } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'

/** Three numbers. */
const maxMarkBytes = 256

const markPath = (path: string) => `${path}.mark`
const markOf = ({ size, mtimeNs, ino }: BigIntStats) => `${size} ${mtimeNs} ${ino}\n`

/**
 * Whether a file that was made from layers is as it was when it was made. One that was changed since, or whose making was cut
 * off before the mark, is removed.
 */
export async function isIntact(path: string, pages: number): Promise<boolean> {
  const found = statOf(path)
  if (found === undefined) return false
  if (
    found.isFile() &&
    found.size === BigInt(pages) * BigInt(pageSizeBytes) &&
    markAt(path) === markOf(found)
  )
    return true
  await removeFile(path)
  return false
}

// Both in this thread: a restore waits for them.
function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (cause) {
    throw new VarveError('PATH_INVALID', `cannot use ${path}: ${(cause as Error).message}`, { cause })
  }
}

function markAt(path: string): string {
  try {
    return readSmallFile(markPath(path), maxMarkBytes).toString('utf8')
  } catch {
    return ''
  }
}

/** Gives a file that was made elsewhere in the store its name, and the mark. */
export async function publishDerived(staged: string, path: string): Promise<void> {
  await renameFile(staged, path)
  const temporary = `${markPath(path)}.${process.pid}`
  await removeFile(temporary)
  {
    await using file = await createFile(temporary)
    writeAt(file, Buffer.from(markOf(statSync(path, { bigint: true }))), 0)
  }
  await renameFile(temporary, markPath(path))
}
