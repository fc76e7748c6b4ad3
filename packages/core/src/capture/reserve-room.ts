import type { Stats } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Descriptor } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import type { VmmFiles } from '../firecracker/vmm-files.js'
import { type AttachedDisk, openAttached } from '../machine/disks.js'
import type { SnapshotDescription } from '../store/snapshot-types.js'
import { allocate, createFile, removeFile, writeAt } from '../sys/mutations.js'
import { probeReflink } from '../sys/reflink.js'

/** Room for footers, maps and the manifest, which sealing writes in addition to copies of disks. */
export const sealBytes = 2 * 2 ** 20

/**
 * Reserves room, while Firecracker writes, for the files that Varve writes afterwards. So if the file system
 * is too full, Firecracker meets the error, and keeps its log of written pages.
 */
export async function reserve(path: string, lengthBytes: number): Promise<{ release(): Promise<void> }> {
  if (lengthBytes > 0) {
    await using file = await createFile(path)
    if (!allocate(file, lengthBytes))
      // For more than this, `bytesOfCopies` has asked the file system for its free room.
      writeAt(file, Buffer.alloc(Math.min(lengthBytes, sealBytes)), 0)
  }
  return { release: () => removeFile(path) }
}

/**
 * Room that the copies of disks need. Disks that the guest may write to are copied when Firecracker has
 * written (it drains their queues then), the others when sealing. A problem with a copy must be found before
 * Firecracker writes.
 */
export async function bytesOfCopies(
  directory: string,
  files: VmmFiles,
  disks: readonly AttachedDisk[],
  parent: SnapshotDescription | undefined,
): Promise<readonly [writable: number, readOnly: number]> {
  let [writable, readOnly] = [0, 0]
  for (const disk of disks) {
    const found = await statOf(files, disk)
    if (!found.isFile())
      throw new VarveError('PATH_INVALID', `drive ${disk.drive} is ${disk.hostPath}, not a regular file`, {
        remedy: 'use disk image files; block devices are not copied into snapshots',
      })
    if (!disk.readOnly) writable += found.blocks * 512
    else if (blobOf(disk, parent) === undefined) readOnly += found.blocks * 512
  }
  // Copies that share blocks need none.
  if (writable + readOnly === 0 || probeReflink(directory) === 'works') return [0, 0]
  const { bavail, bsize } = await statfs(directory)
  const freeBytes = bavail * bsize
  if (writable + readOnly <= freeBytes) return [writable, readOnly]
  throw new VarveError(
    'WRITE_FAILED',
    `copies of the disks need ${writable + readOnly} bytes in ${directory}, ${freeBytes} are free`,
    {
      remedy: 'make room there (`varve gc` removes what no snapshot needs), then try again',
      details: { path: directory, errno: 'ENOSPC' },
    },
  )
}

async function statOf(files: VmmFiles, disk: AttachedDisk): Promise<Stats> {
  await using handle = await openAttached(files, disk)
  return await handle.stat()
}

/**
 * A restored machine reads a read-only disk from the store's own blob: the same bytes, so not copied and
 * hashed again.
 */
export function blobOf(
  { hostPath }: AttachedDisk,
  parent: SnapshotDescription | undefined,
): Descriptor | undefined {
  return parent?.disks.find(({ digest }) => hostPath?.endsWith(`/blobs/${digest.replace(':', '/')}`))
}
