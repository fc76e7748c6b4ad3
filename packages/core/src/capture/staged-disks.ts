import { join } from 'node:path'
import type { VmmFiles } from '../firecracker/vmm-files.js'
import { type AttachedDisk, copyAttachedDisk } from '../machine/disks.js'
import type { Staging } from '../store/snapshot-types.js'

export const stagedDisk = (staging: Staging, { drive }: Pick<AttachedDisk, 'drive'>): string =>
  join(staging.directory, `disk-${drive}`)

export async function stageDisk(
  files: VmmFiles,
  disk: AttachedDisk,
  staging: Staging,
  signal: AbortSignal | undefined,
): Promise<void> {
  await copyAttachedDisk(files, disk, stagedDisk(staging, disk), { signal })
}
