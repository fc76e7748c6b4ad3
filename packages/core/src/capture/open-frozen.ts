import { join } from 'node:path'
import { VarveError } from '../errors.js'
import { stackLayer, zeroMap } from '../layer/compose-extent-map.js'
import { flatIndex } from '../layer/layer-index.js'
import type { AttachedDisk } from '../machine/disks.js'
import { emptyPageSet } from '../memory/page-set.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { FrozenSnapshot, KeptSnapshot, SnapshotConfig, Staging } from '../store/snapshot-types.js'
import type { FrozenTaking } from './memory-taker.js'
import { stagedDisk } from './staged-disks.js'

/** A frozen snapshot, and what its memory may cost. */
export interface FrozenClonable extends FrozenSnapshot {
  /** How much memory the copies may take that writes of the source cost, bytes. */
  readonly mostCopiedBytes: number
}

interface FrozenParts {
  readonly store: SnapshotStore
  readonly parent: KeptSnapshot | undefined
  readonly staging: Staging
  readonly attached: readonly AttachedDisk[]
  readonly config: SnapshotConfig
  readonly frozen: FrozenTaking
  readonly signal: AbortSignal | undefined
}

/**
 * The image that a snapshot is going to have, as machines can be loaded from it before it is sealed: what was
 * taken lies in the frozen memory, all else is the parent's.
 */
export async function openFrozen(parts: FrozenParts): Promise<FrozenClonable> {
  const { store, parent, staging, attached, config, signal } = parts
  const { source, taken, notCome, statePath, mostCopiedBytes } = parts.frozen
  const below = parent && (await store.open(parent.entry.id, { signal }))
  const { files: layers, map } = below ?? notCome ?? { files: [], map: zeroMap(config.memoryPages) }
  const pages = config.memoryPages
  const own = flatIndex(pages, taken, emptyPageSet)
  const noted = new Set<string>()
  return {
    entry: { id: config.id },
    config,
    files: [...layers, { path: join('/proc', `${source.process.pid}`, 'mem'), storedPages: pages }],
    map: stackLayer(map, own, layers.length),
    frozen: source,
    mostCopiedBytes,
    statePath,
    diskFiles: attached.map(({ drive, file, readOnly, sizeBytes, hostPath }) => ({
      ...{ drive, file, readOnly, sizeBytes },
      path: readOnly ? pathOf(drive, hostPath) : stagedDisk(staging, { drive }),
    })),
    isNoted: (finding) => noted.has(finding),
    note: (finding) => void noted.add(finding),
    clonesDirectory: staging.clonesDirectory,
    leaseTo: async (other) => below?.leaseTo(other) ?? null,
    [Symbol.asyncDispose]: async () => below?.[Symbol.asyncDispose](),
  }
}

/** A disk that no guest writes to is the same file for all. */
function pathOf(drive: string, hostPath: string | null): string {
  if (hostPath !== null) return hostPath
  throw new VarveError('PATH_INVALID', `the file of drive ${drive} is no longer where it was opened`, {
    remedy: 'put it back, or detach the drive',
  })
}
