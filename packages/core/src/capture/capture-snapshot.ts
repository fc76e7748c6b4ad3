import { randomBytes } from 'node:crypto'
import { cpus, machine as hardwareName, release } from 'node:os'
import { join } from 'node:path'
import { annotations, mediaTypes } from '../content/descriptors.js'
import { isVarveError, VarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { formatFirecrackerVersion } from '../firecracker/version.js'
import type { VmmFiles } from '../firecracker/vmm-files.js'
import { withLine } from '../inspect-line.js'
import { assertLabels, type Labels } from '../labels.js'
import { assertFinePages, hasFinePages } from '../layer/index-memory-file.js'
import { type SealOptions, sealLayer, sealPacked } from '../layer/layer-file.js'
import type { Layer } from '../layer/layer-types.js'
import { type AttachedDisk, copyAttachedDisk } from '../machine/disks.js'
import type { PausedMachine } from '../machine/machine-states.js'
import { pageSizeBytes } from '../memory/units.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type {
  KeptSnapshot,
  SnapshotConfig,
  SnapshotDescription,
  SnapshotDraft,
  SnapshotEntry,
  Staging,
} from '../store/snapshot-types.js'
import type { RecordedPages } from '../working-set/recording.js'
import { assertWorkingSetName } from '../working-set/working-set.js'
import { writeWorkingSet } from '../working-set/working-set-file.js'
import { workingSetOf } from '../working-set/working-set-of.js'
import { assertCapturable, assertTags } from './assert-capturable.js'
import { type ChosenParent, chooseParent, type LostLineage, type ParentOptions } from './choose-parent.js'
import { blobOf, bytesOfCopies, reserve, sealBytes } from './reserve-room.js'
import { touchedSinceLoad } from './touched-since-load.js'

export interface TakeOptions extends ParentOptions {
  readonly store: SnapshotStore
  /**
   * Keeps what the machine has touched since it was restored as a working set of this name. For machines on a
   * memory file; RECORDER_UNRELIABLE for others, before anything is written.
   */
  readonly workingSet?: string | undefined
  /** What to note about the snapshot; `store.list` can filter by them. They never change. Default: none. */
  readonly labels?: Labels | undefined
  /** The tags for `seal`, if they are known already: an invalid one is refused before anything is written. */
  readonly tags?: readonly string[] | undefined
  readonly signal?: AbortSignal | undefined
}

export interface SealSnapshotOptions {
  /**
   * Names to give it; a name that another snapshot has moves here. Default: those that `takeSnapshot` was
   * given.
   */
  readonly tags?: readonly string[] | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/** What Firecracker has written and Varve has not indexed yet. The guest may run on. */
export interface TakenSnapshot extends AsyncDisposable {
  readonly type: 'Full' | 'Diff'
  /**
   * Why this is a new base although the machine has a history; null if it is not, or a base was asked for.
   */
  readonly lost: LostLineage | null
  /** How long Firecracker wrote, and the guest stood still for it, milliseconds. */
  readonly createMs: number
  /** How long the copies of writable disks took after that, milliseconds. */
  readonly disksMs: number
  /**
   * Indexes, checks, syncs and commits; only then is it a snapshot. If a tag is refused (INVALID_ARGUMENT),
   * nothing has changed: call again with another tag. After any other failure nothing half-made is left, and
   * the machine's next snapshot is a base.
   */
  seal(options?: SealSnapshotOptions): Promise<CapturedSnapshot>
}

export interface CapturedSnapshot {
  /**
   * Leased to the VM until its next snapshot; if it has no tag, also to this process, until that ends, tags,
   * untags or removes it, or has captured 64 more without a tag.
   */
  readonly entry: SnapshotEntry
  /** The layer as it was sealed; its file has moved into the store since. */
  readonly layer: Layer
  readonly type: 'Full' | 'Diff'
  /** As in `TakenSnapshot`. */
  readonly lost: LostLineage | null
  readonly createMs: number
  readonly disksMs: number
}

/**
 * Has Firecracker write a snapshot into the store's staging, and copies the disks that the guest may write
 * to. By default it builds on the machine's last snapshot. Resume the machine as soon as this returns, then
 * `seal`. On failure nothing is left. `assertCapturable`
 * refuses known problems before Firecracker writes. If it or Firecracker itself refuses (no room, for
 * example), the next Diff holds the pages of this one. A later failure loses the lineage, and the next
 * snapshot is a base.
 */
export async function takeSnapshot(machine: PausedMachine, options: TakeOptions): Promise<TakenSnapshot> {
  assertLabels(options.labels ?? {})
  const ifTaken = machine.snapshotsTaken
  // Leased to this process as well as to the VM, which may end before the snapshot is sealed.
  const chosen = await chooseParent(machine, options.store, options)
  const parent = chosen.parent === undefined ? undefined : await options.store.keep(chosen.parent)
  try {
    return await takeOn({ ...chosen, parent }, machine, ifTaken, options)
  } catch (error) {
    await parent?.[Symbol.asyncDispose]()
    throw error
  }
}

async function takeOn(
  { parent, base, lost }: Omit<ChosenParent, 'parent'> & { readonly parent: KeptSnapshot | undefined },
  machine: PausedMachine,
  ifTaken: number,
  options: TakeOptions,
): Promise<TakenSnapshot> {
  const { store, signal, labels = {} } = options
  const attached = await machine.disks()
  const vmConfig = await machine.api.vmConfig({ signal })
  const asked = { machine: machine.id, vmConfig, parent, tags: options.tags ?? [] }
  assertCapturable({ ...asked, workingSet: options.workingSet })
  const staging = await store.stage()
  try {
    const [statePath, memoryPath] = ['state', 'memory'].map((name) => join(staging.directory, name)) as [
      string,
      string,
    ]
    const [forWritable, forReadOnly] = await bytesOfCopies(staging.directory, machine.files, attached, parent)
    const forDisks = await reserve(join(staging.directory, 'reserve-disks'), forWritable)
    const forSeal = await reserve(join(staging.directory, 'reserve'), sealBytes + forReadOnly)
    const type = snapshotType(machine, parent, base, staging.directory)
    if (type === 'Diff') assertFinePages(staging.directory)
    const touched =
      options.workingSet === undefined ? undefined : await whatItTouched(machine, vmConfig, options)
    const start = performance.now()
    const { taken } = await machine.snapshot({
      type,
      statePath,
      memoryPath,
      ifTaken,
      signal,
    })
    const createMs = performance.now() - start
    await forDisks.release()
    const writable = attached.filter(({ readOnly }) => !readOnly)
    for (const disk of writable) await stageDisk(machine.files, disk, staging, signal)
    const disksMs = performance.now() - start - createMs
    const host = {
      cpu: cpus()[0]?.model ?? 'unknown',
      kernel: release(),
      arch: hardwareName(),
      pageSizeBytes,
    }
    const firecracker = { version: formatFirecrackerVersion(machine.firecrackerVersion) }
    const createdAt = new Date().toISOString()
    return {
      type,
      lost,
      createMs,
      disksMs,
      seal: async ({ tags = asked.tags, signal: sealSignal, onProgress } = {}) => {
        assertTags(tags)
        await using _parent = parent
        await using _staging = staging
        const id = randomBytes(16).toString('hex')
        await forSeal.release()
        const layer = await sealMemory(type, memoryPath, {
          image: id,
          parent: parent?.entry.id ?? null,
          signal: sealSignal,
          onProgress: (pages) => onProgress?.(`${pages} pages indexed`),
        })
        const disks: SnapshotDraft['disks'][number][] = []
        for (const disk of attached) {
          const kept = disk.readOnly ? blobOf(disk, parent) : undefined
          if (kept !== undefined) disks.push({ drive: disk.drive, descriptor: kept })
          else {
            if (disk.readOnly) await stageDisk(machine.files, disk, staging, sealSignal)
            disks.push({ drive: disk.drive, path: stagedDisk(staging, disk) })
          }
        }
        const config: SnapshotConfig = {
          id,
          parent: parent?.entry.id ?? null,
          createdAt,
          kind: type === 'Full' ? 'full' : 'diff',
          memoryPages: layer.index.pages,
          firecracker,
          host,
          machine: { ...vmConfig },
          disks: attached.map(({ drive, file, readOnly, sizeBytes }) => ({
            drive,
            file,
            readOnly,
            sizeBytes,
          })),
          labels,
        }
        const extras: SnapshotDraft['extras'] =
          touched === undefined ? [] : [await stageWorkingSet(touched, config, staging)]
        const draft = { config, layerPath: layer.path, statePath, disks, extras }
        const leaseTo = tags.length > 0 ? [machine.holder] : [machine.holder, 'this process' as const]
        const made = await store.commit(draft, { tags, leaseTo, signal: sealSignal, onProgress })
        const { entry, leases } = made
        machine.countFromSnapshot(id, taken, leases[0])
        return withLine(
          { entry, layer, type, lost, createMs, disksMs },
          () =>
            `CapturedSnapshot ${id.slice(0, 12)} (${tags.join(', ') || 'no tag'}; ${type}, ${entry.parent === null ? 'a base' : `on ${entry.parent.slice(0, 12)}`})`,
        )
      },
      [Symbol.asyncDispose]: async () => {
        await using _parent = parent
        await staging[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await staging[Symbol.asyncDispose]()
    throw error
  }
}

/** Takes and seals while the machine stays paused. */
export async function captureSnapshot(
  machine: PausedMachine,
  options: TakeOptions & SealSnapshotOptions,
): Promise<CapturedSnapshot> {
  return (await takeSnapshot(machine, options)).seal(options)
}

interface Touched {
  readonly name: string
  readonly recorded: RecordedPages
}

async function whatItTouched(
  machine: PausedMachine,
  { 'machine-config': { mem_size_mib: memoryMib } }: FullVmConfiguration,
  { workingSet, signal }: TakeOptions,
): Promise<Touched> {
  const name = assertWorkingSetName(workingSet ?? '')
  const pages = (memoryMib * 2 ** 20) / pageSizeBytes
  return { name, recorded: await touchedSinceLoad(machine, pages, { signal }) }
}

/** Pages have the same numbers in every image of a machine. */
async function stageWorkingSet(
  { name, recorded }: Touched,
  { id, memoryPages }: SnapshotConfig,
  staging: Staging,
): Promise<NonNullable<SnapshotDraft['extras']>[number]> {
  const path = join(staging.directory, 'working-set')
  const notes = { from: 'all that was touched since the load, at capture' }
  await writeWorkingSet(path, workingSetOf([recorded], { image: id, pages: memoryPages, notes }))
  return { mediaType: mediaTypes.workingSet, path, annotations: { [annotations.name]: name } }
}

function snapshotType(
  machine: PausedMachine,
  parent: SnapshotDescription | undefined,
  base: 'auto' | 'Full' | 'Diff',
  directory: string,
): 'Full' | 'Diff' {
  if (parent !== undefined) {
    assertLineage(machine, parent.entry)
    return 'Diff'
  }
  const complete = machine.bootedHere && machine.dirtyTracking && machine.snapshotsTaken === 0
  if (base === 'Diff' && !complete)
    throw new VarveError('IMAGE_MISMATCH', `a Diff of ${machine.id} would not hold all its memory`, {
      remedy:
        'a base by Diff needs a machine booted here with dirty tracking and no snapshot yet; take a Full',
    })
  if (base !== 'auto') return base
  return complete && hasFinePages(directory) ? 'Diff' : 'Full'
}

/**
 * A Full is a memory file that Firecracker can load: it stays as it is, with a footer. A Diff is
 * sparse and is packed, so that hashing and keeping it costs what its data costs; if there is no room
 * for that, it stays as it is, too.
 */
async function sealMemory(type: 'Full' | 'Diff', path: string, options: SealOptions): Promise<Layer> {
  if (type === 'Full') return sealLayer(path, options)
  try {
    return await sealPacked(path, `${path}.packed`, options)
  } catch (error) {
    if (!isVarveError(error, 'WRITE_FAILED')) throw error
    return sealLayer(path, options)
  }
}

/** A Diff over the wrong parent would be an image that never was: refused before anything is written. */
function assertLineage(machine: PausedMachine, { id }: SnapshotEntry): void {
  if (machine.snapshotId === id) return
  const from = machine.snapshotId === null ? 'no known snapshot' : `snapshot ${machine.snapshotId}`
  throw new VarveError(
    'IMAGE_MISMATCH',
    `the parent is snapshot ${id}, but the written pages of ${machine.id} count from ${from}`,
    { remedy: 'name the snapshot that was taken last or restored from, or take a Full' },
  )
}

const stagedDisk = (staging: Staging, { drive }: AttachedDisk) => join(staging.directory, `disk-${drive}`)

async function stageDisk(
  files: VmmFiles,
  disk: AttachedDisk,
  staging: Staging,
  signal: AbortSignal | undefined,
): Promise<void> {
  await copyAttachedDisk(files, disk, stagedDisk(staging, disk), { signal })
}
