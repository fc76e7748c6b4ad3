import { lstat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { composeExtentMap, type ExtentMap, maxLayers } from './extent-map.js'
import type { Layer } from './layer.js'
import { readSnapshotDirectory, type SnapshotDirectory } from './snapshot-directory.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** All that restoring a snapshot needs. */
export interface SnapshotChain {
  /** Base first; the last one is the snapshot asked for. */
  readonly snapshots: readonly SnapshotDirectory[]
  readonly layers: readonly Layer[]
  readonly map: ExtentMap
  /** The last snapshot's state file: state is never merged. */
  readonly statePath: string
}

/** Follows a snapshot's parents down to the base and composes its image. */
export async function openSnapshotChain(
  directory: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<SnapshotChain> {
  const top = await readSnapshotDirectory(directory)
  const snapshots = [top]
  const ids = new Set([top.manifest.id])
  for (let child = top; child.manifest.parent !== null; child = snapshots[0] as SnapshotDirectory) {
    throwIfAborted(signal, directory)
    if (snapshots.length === maxLayers)
      throw new VarveError('FORMAT_INVALID', `${directory} has more than ${maxLayers} snapshots below it`)
    const parent = await readParent(child, child.manifest.parent)
    if (ids.has(parent.manifest.id))
      throw new VarveError(
        'FORMAT_INVALID',
        `${child.manifestPath}: snapshot ${parent.manifest.id} is its own ancestor`,
      )
    ids.add(parent.manifest.id)
    snapshots.unshift(parent)
  }
  const layers = snapshots.map(({ layer }) => layer)
  return { snapshots, layers, map: composeExtentMap(layers), statePath: top.statePath }
}

async function readParent(child: SnapshotDirectory, path: string): Promise<SnapshotDirectory> {
  const directory = resolve(child.directory, path)
  const stat = await lstat(directory).catch((error: NodeJS.ErrnoException) => {
    throw new VarveError('NOT_FOUND', `${child.manifestPath}: no parent at ${directory}: ${error.message}`, {
      cause: error,
      remedy: 'move the parent back, or both snapshots together',
    })
  })
  if (!stat.isDirectory())
    throw new VarveError('PATH_INVALID', `${child.manifestPath}: parent ${directory} is not a directory`)
  const parent = await readSnapshotDirectory(directory)
  if (parent.manifest.id !== child.manifest.parentId)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `${child.manifestPath} wants parent ${child.manifest.parentId}, ${directory} is ${parent.manifest.id}`,
    )
  if (parent.layer.pages !== child.layer.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `${child.manifestPath} has ${child.layer.pages} pages, its parent ${directory} ${parent.layer.pages}`,
    )
  return parent
}
