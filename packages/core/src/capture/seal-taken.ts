import { randomBytes } from 'node:crypto'
import { cpus, machine as hardwareName, release } from 'node:os'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { memoryPagesOf } from '../firecracker/memory-pages.js'
import { formatFirecrackerVersion } from '../firecracker/version.js'
import { withLine } from '../inspect-line.js'
import type { AttachedDisk } from '../machine/disks.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import { pageSizeBytes } from '../memory/units.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type {
  KeptSnapshot,
  SnapshotConfig,
  SnapshotDraft,
  SnapshotEntry,
  Staging,
} from '../store/snapshot-types.js'
import { assertTags } from './assert-capturable.js'
import type {
  CapturedSnapshot,
  CaptureWay,
  SealSnapshotOptions,
  TakenSnapshot,
  TakeOptions,
} from './capture-types.js'
import type { LostLineage } from './choose-parent.js'
import type { MemoryTaker } from './memory-taker.js'
import { type FrozenClonable, openFrozen } from './open-frozen.js'
import { blobOf } from './reserve-room.js'
import { sealMemory } from './seal-memory.js'
import { stageDisk, stagedDisk } from './staged-disks.js'
import { stageWorkingSet, type Touched } from './touched-pages.js'

/** What was taken while the guest stood still, and what it takes to make a snapshot of it. */
interface Taken {
  readonly machine: MachineHandle
  readonly store: SnapshotStore
  readonly vmConfig: FullVmConfiguration
  readonly options: TakeOptions
  readonly attached: readonly AttachedDisk[]
  readonly parent: KeptSnapshot | undefined
  readonly staging: Staging
  readonly taker: MemoryTaker
  readonly forSeal: { release(): Promise<void> }
  readonly type: 'Full' | 'Diff'
  readonly lost: LostLineage | null
  readonly statePath: string
  readonly memoryPath: string
  readonly taken: number
  readonly way: CaptureWay
  readonly touched: Touched | undefined
  readonly standstillMs: number | null
  readonly createMs: number
  readonly disksMs: number
}

/** A taken snapshot from whose memory machines can be loaded before it is sealed. */
export interface TakenForClones extends TakenSnapshot {
  /** MACHINE_STATE if no process holds the memory. To be disposed of after `sealBefore`, or without it. */
  openFrozen(options: { readonly signal?: AbortSignal | undefined }): Promise<FrozenClonable>
  /** As `seal`; the frozen memory ends after `last`, which is called when the snapshot is in the store. */
  sealBefore(
    last: (entry: SnapshotEntry) => Promise<void>,
    options: SealSnapshotOptions,
  ): Promise<CapturedSnapshot>
}

export function sealTaken(it: Taken): TakenForClones {
  const { machine, store, vmConfig, attached, parent, staging, taker, type, statePath, memoryPath } = it
  const host = { cpu: cpus()[0]?.model ?? 'unknown', kernel: release(), arch: hardwareName(), pageSizeBytes }
  const firecracker = { version: formatFirecrackerVersion(machine.firecrackerVersion) }
  const createdAt = new Date().toISOString()
  const { lost, way, standstillMs, createMs, disksMs } = it
  const report = { type, lost, way, standstillMs, createMs, disksMs }
  const id = randomBytes(16).toString('hex')
  const configOf = (memoryPages: number): SnapshotConfig => ({
    id,
    parent: parent?.entry.id ?? null,
    createdAt,
    kind: type === 'Full' ? 'full' : 'diff',
    memoryPages,
    firecracker,
    host,
    machine: { ...vmConfig },
    ...(machine.guestAgent === null ? {} : { guestAgent: machine.guestAgent }),
    disks: attached.map(({ drive, file, readOnly, sizeBytes }) => ({ drive, file, readOnly, sizeBytes })),
    labels: it.options.labels ?? {},
  })
  const seal = async (
    { tags = it.options.tags ?? [], signal, onProgress }: SealSnapshotOptions,
    last?: (entry: SnapshotEntry) => Promise<void>,
  ): Promise<CapturedSnapshot> => {
    assertTags(tags)
    await using _parent = parent
    await using _staging = staging
    await using _taker = taker
    await it.forSeal.release()
    const keep = last !== undefined
    await taker.finish({ keep, signal, onProgress: (pages) => onProgress?.(`${pages} pages copied`) })
    const layer = await sealMemory(type, memoryPath, {
      image: id,
      parent: parent?.entry.id ?? null,
      signal,
      onProgress: (pages) => onProgress?.(`${pages} pages indexed`),
    })
    const disks: SnapshotDraft['disks'][number][] = []
    for (const disk of attached) {
      const kept = disk.readOnly ? blobOf(disk, parent) : undefined
      if (kept !== undefined) disks.push({ drive: disk.drive, descriptor: kept })
      else {
        if (disk.readOnly) await stageDisk(machine.files, disk, staging, signal)
        disks.push({ drive: disk.drive, path: stagedDisk(staging, disk) })
      }
    }
    const config = configOf(layer.index.pages)
    const extras: SnapshotDraft['extras'] =
      it.touched === undefined ? [] : [await stageWorkingSet(it.touched, config, staging)]
    const draft = { config, layerPath: layer.path, statePath, disks, extras }
    // A machine without a log goes on counting from what it was loaded from.
    const counts = machine.dirtyTracking || way.mode === 'stop'
    const holders = counts ? [machine.holder] : []
    const leaseTo = tags.length > 0 ? holders : [...holders, 'this process' as const]
    const { entry, leases } = await store.commit(draft, { tags, leaseTo, signal, onProgress })
    if (counts) machine.countFromSnapshot(id, it.taken, leases[0])
    await last?.(entry)
    if (keep) await taker.release?.()
    return withLine(
      { entry, layer, ...report },
      () =>
        `CapturedSnapshot ${id.slice(0, 12)} (${tags.join(', ') || 'no tag'}; ${type}, ${entry.parent === null ? 'a base' : `on ${entry.parent.slice(0, 12)}`})`,
    )
  }
  return {
    ...report,
    seal: (options = {}) => seal(options),
    sealBefore: (last, options) => seal(options, last),
    openFrozen: async ({ signal }) =>
      openFrozen({
        ...{ store, parent, staging, attached, frozen: await taker.describe(), signal },
        config: configOf(memoryPagesOf(vmConfig)),
      }),
    [Symbol.asyncDispose]: async () => {
      await using _parent = parent
      await using _staging = staging
      await taker[Symbol.asyncDispose]()
    },
  }
}
