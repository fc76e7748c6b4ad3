import { constants, lstatSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { flockShared, lockDescriptor } from 'varve/testing'

/** Keeps a blob of a frame cache where it is, until it is disposed of or its process ends. */
export type Pin = AsyncDisposable

/** A shared lock on a blob's directory; undefined if the blob is not here, or is being given back. */
export const pinBlob = (directory: string): Promise<Pin | undefined> => lockPin(directory, flockShared)

/** The exclusive lock; undefined if somebody has pinned the blob. */
export const claimBlob = (directory: string): Promise<Pin | undefined> => lockPin(directory, lockDescriptor)

async function lockPin(
  directory: string,
  lock: (fd: number, path: string) => boolean,
): Promise<Pin | undefined> {
  const path = join(directory, 'pin')
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  // Between open and lock the directory may have lost its name.
  const { ino } = await handle.stat()
  if (lock(handle.fd, path) && lstatSync(path, { throwIfNoEntry: false })?.ino === ino)
    return { [Symbol.asyncDispose]: () => handle.close() }
  await handle.close()
  return undefined
}
