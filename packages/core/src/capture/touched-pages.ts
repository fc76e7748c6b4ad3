import { join } from 'node:path'
import { annotations, mediaTypes } from '../content/descriptors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { memoryPagesOf } from '../firecracker/memory-pages.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import type { SnapshotConfig, SnapshotDraft, Staging } from '../store/snapshot-types.js'
import type { RecordedPages } from '../working-set/recording.js'
import { assertWorkingSetName } from '../working-set/working-set.js'
import { writeWorkingSet } from '../working-set/working-set-file.js'
import { workingSetOf } from '../working-set/working-set-of.js'
import type { TakeOptions } from './capture-types.js'
import { touchedSinceLoad } from './touched-since-load.js'

export interface Touched {
  readonly name: string
  readonly recorded: RecordedPages
}

export async function whatItTouched(
  machine: MachineHandle,
  vmConfig: FullVmConfiguration,
  { workingSet, signal }: TakeOptions,
): Promise<Touched> {
  const name = assertWorkingSetName(workingSet ?? '')
  return { name, recorded: await touchedSinceLoad(machine, memoryPagesOf(vmConfig), { signal }) }
}

/** Pages have the same numbers in every image of a machine. */
export async function stageWorkingSet(
  { name, recorded }: Touched,
  { id, memoryPages }: SnapshotConfig,
  staging: Staging,
): Promise<NonNullable<SnapshotDraft['extras']>[number]> {
  const path = join(staging.directory, 'working-set')
  const notes = { from: 'all that was touched since the load, at capture' }
  await writeWorkingSet(path, workingSetOf([recorded], { image: id, pages: memoryPages, notes }))
  return { mediaType: mediaTypes.workingSet, path, annotations: { [annotations.name]: name } }
}
