import { rm } from 'node:fs/promises'
import { VarveError } from '../errors.js'
import { formatFirecrackerVersion } from '../firecracker/version.js'
import { assertFinePages } from '../layer/index-memory-file.js'
import {
  createSnapshotDirectory,
  readSnapshotManifest,
  type SnapshotDirectory,
  type SnapshotPaths,
  sealSnapshotDirectory,
} from '../layer/snapshot-directory.js'
import type { PausedMachine } from '../machine/paused-machine.js'

export interface TakeOptions {
  /** Directory to make; must not exist. */
  readonly directory: string
  /**
   * The snapshot directory that this one builds on, which makes it a Diff. It must be the one that the machine's log of
   * written pages counts from: restored from it, or taken last. Any other is IMAGE_MISMATCH.
   */
  readonly parent?: string
  /**
   * Without a parent: Full (default), or Diff, which is complete, and far smaller, for a VM that was booted here with
   * dirty tracking and has no snapshot yet.
   */
  readonly base?: 'Full' | 'Diff'
  readonly signal?: AbortSignal
}

export interface SealSnapshotOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

/** What Firecracker has written and nobody has indexed yet. The guest may run on. */
export interface TakenSnapshot {
  readonly paths: SnapshotPaths
  /** How long Firecracker wrote, and the guest stood still for it, milliseconds. */
  readonly createMs: number
  /** Indexes, syncs and writes the manifest; only then is the directory a snapshot. On failure it is removed. */
  seal(options?: SealSnapshotOptions): Promise<CapturedSnapshot>
}

export interface CapturedSnapshot extends SnapshotDirectory {
  readonly createMs: number
}

/** Has Firecracker write a snapshot into a new directory. Resume the machine as soon as this returns, then `seal`. */
export async function takeSnapshot(machine: PausedMachine, options: TakeOptions): Promise<TakenSnapshot> {
  const { directory, parent, base = 'Full', signal } = options
  const type = parent === undefined ? base : 'Diff'
  if (parent !== undefined) await assertLineage(machine, parent)
  else if (type === 'Diff' && !(machine.bootedHere && machine.dirtyTracking && machine.snapshotsTaken === 0))
    throw new VarveError('IMAGE_MISMATCH', `a Diff of ${machine.id} would not hold all its memory`, {
      remedy:
        'a base by Diff needs a machine booted here with dirty tracking and no snapshot yet; take a Full',
    })
  const paths = await createSnapshotDirectory(directory)
  const discard = () => rm(paths.directory, { recursive: true, force: true })
  try {
    if (type === 'Diff') assertFinePages(paths.directory)
    const start = performance.now()
    await machine.snapshot({
      type,
      statePath: paths.statePath,
      memoryPath: paths.memoryPath,
      ...(signal ? { signal } : {}),
    })
    const createMs = performance.now() - start
    const taken = machine.snapshotsTaken
    return {
      paths,
      createMs,
      seal: async (seal = {}) => {
        try {
          const sealed = await sealSnapshotDirectory(paths.directory, {
            kind: type === 'Full' ? 'full' : 'diff',
            parent,
            firecrackerVersion: formatFirecrackerVersion(machine.firecrackerVersion),
            signal: seal.signal,
            onProgress: (pages) => seal.onProgress?.(`${pages} pages indexed`),
          })
          machine.countFromSnapshot(sealed.manifest.id, taken)
          return { ...sealed, createMs }
        } catch (error) {
          await discard()
          throw error
        }
      },
    }
  } catch (error) {
    await discard()
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

/** A Diff over the wrong parent would be an image that never was: refused before anything is written. */
async function assertLineage(machine: PausedMachine, parent: string): Promise<void> {
  const { id } = await readSnapshotManifest(parent)
  if (machine.snapshotId === id) return
  const from = machine.snapshotId === null ? 'no known snapshot' : `snapshot ${machine.snapshotId}`
  throw new VarveError(
    'IMAGE_MISMATCH',
    `${parent} is snapshot ${id}, but the written pages of ${machine.id} count from ${from}`,
    {
      remedy: 'name the snapshot that was taken last or restored from, or take a Full',
    },
  )
}
