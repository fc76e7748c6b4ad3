import { type BigIntStats, lstatSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import type { WorkOptions } from '../store/snapshot-store.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { replaceCachedFile } from '../store/write-whole.js'
import { lock } from '../sys/file-lock.js'
import { renameFile } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'

/** Three numbers. */
const maxMarkBytes = 256

const markPath = (path: string) => `${path}.mark`
const markOf = ({ size, mtimeNs, ino }: BigIntStats) => `${size} ${mtimeNs} ${ino}\n`

interface DerivedFile<Made> {
  /** The result of `make`; undefined if the file existed already. */
  readonly made?: Made
}

/**
 * Provides a file of the store that is made from layers: the one at `path` if it is unchanged since it was
 * made, otherwise a new one. Processes that want it at the same time wait for the one that makes it.
 * Processes that have a replaced file open keep it whole.
 */
export async function deriveFile<Made>(
  { stage }: Pick<OpenSnapshot, 'stage'>,
  { path, pages }: { readonly path: string; readonly pages: number },
  make: (staged: string) => Promise<Made>,
  { signal, onProgress }: WorkOptions = {},
): Promise<DerivedFile<Made>> {
  if (isIntact(path, pages)) return {}
  await using _held = await lock(`${path}.lock`, {
    signal,
    onWait: () => onProgress?.('waiting for another process that makes the same file'),
  })
  if (isIntact(path, pages)) return {}
  await using staging = await stage()
  const staged = join(staging.directory, 'derived')
  const made = await make(staged)
  // The mark comes first: rename(2) changes none of its values, and until the rename it fits no file.
  replaceCachedFile(markPath(path), Buffer.from(markOf(lstatSync(staged, { bigint: true }))))
  await renameFile(staged, path)
  return { made }
}

/**
 * Whether a file that was made from layers is unchanged since it was made. A changed file is left alone:
 * another process may have it mapped, or may be about to write its mark.
 */
export function isIntact(path: string, pages: number): boolean {
  const found = statOf(path)
  return (
    found?.isFile() === true &&
    found.size === BigInt(pages) * BigInt(pageSizeBytes) &&
    markAt(path) === markOf(found)
  )
}

// Both in this thread: a restore waits for them.
function statOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false })
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
