import { VarveError } from '../errors.js'
import type { FullVmConfiguration } from './api-types.js'
import {
  type Availability,
  type FirecrackerVersion,
  formatFirecrackerVersion,
  isAvailable,
} from './version.js'

/**
 * In these releases a Diff of a guest with more than one memory slot holds wrong pages
 * (mended in 1.14.2 and 1.15.0).
 */
const slotBug: Availability = { since: ['1.14.0'], until: '1.14.2' }

/**
 * What a guest's first memory region holds at most; the rest goes into a second one, which is a second slot.
 * From 1.13: x86_64 leaves out 3 to 4 GiB; aarch64 begins at 2 GiB and leaves out 256 to 512 GiB.
 */
const firstRegionMib: Readonly<Record<string, number>> = { x64: 3 * 1024, arm64: 254 * 1024 }

/** Whether a Diff by this release needs a look at the guest's memory first (`assertDiffSafe`). */
export function hasSlotBug(version: FirecrackerVersion): boolean {
  return isAvailable(slotBug, version)
}

/**
 * Throws VERSION_UNSUPPORTED if this Firecracker would write a wrong Diff of a guest with this configuration
 * (`GET /vm/config`, which shows hotpluggable memory after a load too). Regions that were split in the state
 * file before a load are not to be seen there.
 */
export function assertDiffSafe(
  version: FirecrackerVersion,
  config: Pick<FullVmConfiguration, 'machine-config' | 'memory-hotplug'>,
  arch: string = process.arch,
): void {
  if (!hasSlotBug(version)) return
  const { mem_size_mib: memoryMib } = config['machine-config']
  const hotplugMib = config['memory-hotplug']?.total_size_mib ?? 0
  if (hotplugMib === 0 && memoryMib <= (firstRegionMib[arch] ?? 0)) return
  const memory =
    hotplugMib === 0 ? `${memoryMib} MiB` : `${memoryMib} MiB and ${hotplugMib} MiB to be plugged in`
  const have = formatFirecrackerVersion(version)
  throw new VarveError(
    'VERSION_UNSUPPORTED',
    `Firecracker ${have} writes wrong Diffs of a guest with more than one memory slot, and this one has ${memory}`,
    {
      remedy: 'take a Full, or use Firecracker 1.14.2 or newer',
      details: { version: have, memoryMib, hotplugMib },
    },
  )
}
