import {
  type Labels,
  pageSizeBytes,
  type SnapshotDescription,
  type SnapshotEntry,
  type SnapshotStore,
  throwIfAborted,
  VarveError,
  type WorkOptions,
} from 'varve'
import type { ImageId } from 'varve/layers'
import type { CommandContext } from './command.js'
import { age, count, cut, humanBytes, shortId } from './text.js'

/** One snapshot in a list; the JSON of `ls`, `log` and `import`. */
export interface SnapshotRow {
  readonly id: ImageId
  readonly parent: ImageId | null
  readonly tags: readonly string[]
  readonly createdAt: string
  /** The rest is null if the snapshot's own files cannot be read; `error` says why. */
  readonly kind: 'full' | 'diff' | null
  readonly memoryPages: number | null
  /** Memory that its own layer, the last one, stores. */
  readonly dataBytes: number | null
  /** Layers that its memory is composed of. */
  readonly layers: number | null
  readonly labels: Labels | null
  readonly error: { readonly code: string; readonly message: string } | null
}

export async function snapshotRows(
  store: SnapshotStore,
  entries: readonly SnapshotEntry[],
  { signal, onProgress }: WorkOptions = {},
): Promise<SnapshotRow[]> {
  const rows: SnapshotRow[] = []
  // One after the other: a store may hold more snapshots than a process may open files.
  for (const entry of entries) {
    throwIfAborted(signal, 'the list')
    onProgress?.(`${rows.length} of ${count(entries.length, 'snapshot')}`)
    rows.push(await snapshotRow(store, entry))
  }
  return rows
}

/** A damaged snapshot is a row like the others: the list must help if the store has suffered. */
async function snapshotRow(store: SnapshotStore, entry: SnapshotEntry): Promise<SnapshotRow> {
  const { id, parent, tags, createdAt } = entry
  const known = { id, parent, tags, createdAt }
  try {
    const { config, layers } = await store.describe(id)
    const { kind, memoryPages } = config
    return {
      ...known,
      kind,
      memoryPages,
      dataBytes: bytesOfData(layers.at(-1)),
      layers: layers.length,
      labels: config.labels ?? {},
      error: null,
    }
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    const { code, message } = error
    return {
      ...known,
      kind: null,
      memoryPages: null,
      dataBytes: null,
      layers: null,
      labels: null,
      error: { code, message },
    }
  }
}

function bytesOfData(layer: SnapshotDescription['layers'][number] | undefined): number {
  return Number(layer?.annotations?.['dev.varve.data-pages'] ?? 0) * pageSizeBytes
}

export const rowHeader = ['TAG', 'ID', 'PARENT', 'AGE', 'DATA', 'LAYERS']
/** Columns of numbers. */
export const rowRight = [4, 5]

/** The cells of a row; `mark` goes before its name. */
export function rowCells(row: SnapshotRow, mark = '', now?: number): string[] {
  const { id, parent, tags, createdAt, dataBytes, layers } = row
  return [
    cut(mark + (tags.length === 0 ? '-' : tags.join(', ')), 40),
    shortId(id),
    parent === null ? '-' : shortId(parent),
    age(createdAt, now),
    dataBytes === null ? 'damaged' : humanBytes(dataBytes),
    layers === null ? '-' : String(layers),
  ]
}

/** Says under a table why some cells are empty. */
export function sayDamage({ say }: CommandContext, rows: readonly SnapshotRow[]): void {
  for (const { id, error } of rows)
    if (error !== null) say(`${shortId(id)}: ${error.message} [${error.code}]; see varve fsck`)
}
