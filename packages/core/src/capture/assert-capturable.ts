import { assertTag } from '../content/references.js'
import { VarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { maxLayers } from '../layer/extent-map.js'
import { imagePagesLimit } from '../layer/layer-index.js'
import { pageSizeBytes } from '../memory/units.js'
import type { SnapshotDescription } from '../store/snapshot-types.js'
import { assertWorkingSetName } from '../working-set/working-set.js'

interface CaptureRequest {
  /** Name of the machine, for messages. */
  readonly machine: string
  readonly vmConfig: FullVmConfiguration
  readonly parent: SnapshotDescription | undefined
  readonly tags: readonly string[]
  readonly workingSet: string | undefined
}

/**
 * Refuses a capture that could not become a snapshot, or whose snapshot could not be restored. Firecracker
 * clears its log of written pages when it has written a snapshot: a refusal after that would lose the pages
 * of this Diff.
 */
export function assertCapturable({ machine, vmConfig, parent, tags, workingSet }: CaptureRequest): void {
  assertTags(tags)
  if (workingSet !== undefined) assertWorkingSetName(workingSet)
  const { mem_size_mib: memoryMib } = vmConfig['machine-config']
  const hotplugMib = vmConfig['memory-hotplug']?.total_size_mib ?? 0
  const pages = ((memoryMib + hotplugMib) * 2 ** 20) / pageSizeBytes
  if (pages > imagePagesLimit)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${machine} has ${pages} pages of memory, and a snapshot can hold ${imagePagesLimit} at most`,
    )
  if (parent === undefined || parent.layers.length < maxLayers) return
  const { id } = parent.entry
  throw new VarveError(
    'INVALID_ARGUMENT',
    `the parent ${id} has ${parent.layers.length} layers, and a snapshot can have ${maxLayers} at most`,
    { remedy: `squash it (varve squash ${id.slice(0, 12)} --all), or take a Full` },
  )
}

export function assertTags(tags: readonly string[]): void {
  for (const tag of tags) assertTag(tag)
}
