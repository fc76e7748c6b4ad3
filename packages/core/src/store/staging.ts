import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type FileLock, tryLock, tryLockExisting } from '../sys/file-lock.js'
import { makeDirectory, removeDirectory } from '../sys/mutations.js'
import type { Staging } from './snapshot-types.js'

const ownerFile = 'owner'

/**
 * A new staging directory. To be made under the store's lock, so that gc never sees one without its owner.
 */
export async function makeStaging(directory: string): Promise<Omit<Staging, 'clonesDirectory'>> {
  const own = join(directory, randomBytes(8).toString('hex'))
  await makeDirectory(own)
  let owner: FileLock | undefined
  try {
    owner = await tryLock(join(own, ownerFile))
    if (owner === undefined) throw new Error(`${own} is locked by somebody else`)
  } catch (error) {
    await owner?.[Symbol.asyncDispose]()
    await removeDirectory(own)
    throw error
  }
  const held = owner
  let ended = false
  return {
    directory: own,
    [Symbol.asyncDispose]: async () => {
      if (ended) return
      ended = true
      try {
        await removeDirectory(own)
      } finally {
        // Files that could not be removed are left over; gc tries again.
        await held[Symbol.asyncDispose]()
      }
    },
  }
}

/** Staging directories whose process has ended. Under the store's lock. */
export async function deadStagings(directory: string): Promise<string[]> {
  const dead: string[] = []
  for (const name of await readdir(directory)) {
    const own = join(directory, name)
    // Its owner may be removing it just now: what would be made there would be in its way.
    const owner = await tryLockExisting(join(own, ownerFile))
    if (owner === undefined) continue
    if (owner !== 'missing') await owner[Symbol.asyncDispose]()
    dead.push(own)
  }
  return dead
}
