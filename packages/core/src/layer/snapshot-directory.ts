import { randomBytes } from 'node:crypto'
import { constants, realpathSync } from 'node:fs'
import { chmod, lstat, mkdir, open } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { indexMemoryFile } from './index-memory-file.js'
import type { Layer } from './layer.js'
import { publishFile, syncDirectory } from './publish-file.js'
import {
  manifestFromJson,
  manifestToJson,
  maxManifestBytes,
  type SnapshotManifest,
} from './snapshot-manifest.js'

/**
 * Snapshot directory, version 0 (docs/formats/snapshot-directory-v0.md). Provisional: the snapshot store replaces it.
 */
export interface SnapshotPaths {
  readonly directory: string
  readonly statePath: string
  readonly memoryPath: string
  readonly manifestPath: string
}

/** One snapshot as it lies on disk. */
export interface SnapshotDirectory extends SnapshotPaths {
  readonly manifest: SnapshotManifest
  readonly layer: Layer
}

export function snapshotPaths(directory: string): SnapshotPaths {
  const absolute = resolve(directory)
  return {
    directory: absolute,
    statePath: join(absolute, 'state'),
    memoryPath: join(absolute, 'memory'),
    manifestPath: join(absolute, 'snapshot.json'),
  }
}

/** Step 1 of writing: a new private directory for Firecracker to write into. An existing one is ALREADY_EXISTS. */
export async function createSnapshotDirectory(directory: string): Promise<SnapshotPaths> {
  const paths = snapshotPaths(directory)
  await mkdir(paths.directory, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST')
      throw new VarveError('ALREADY_EXISTS', `${paths.directory} exists and is not overwritten`, {
        remedy: 'choose another name or remove it first',
      })
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot make ${paths.directory}: ${error.message}`, { cause: error })
  })
  return paths
}

export interface SealOptions {
  readonly kind: 'full' | 'diff'
  /** Directory of the sealed snapshot that absent pages come from. */
  readonly parent?: string | undefined
  readonly firecrackerVersion: string
  readonly machine?: Readonly<Record<string, unknown>>
  readonly signal?: AbortSignal | undefined
  /** Data pages looked at so far. */
  readonly onProgress?: (scannedPages: number) => void
  readonly now?: () => Date
}

/**
 * The other steps: index what Firecracker wrote, sync it, write the manifest last. The guest may run meanwhile. Only
 * then is the directory a snapshot.
 */
export async function sealSnapshotDirectory(
  directory: string,
  options: SealOptions,
): Promise<SnapshotDirectory> {
  const {
    kind,
    parent,
    firecrackerVersion,
    machine = {},
    signal,
    onProgress,
    now = () => new Date(),
  } = options
  if (kind === 'full' && parent !== undefined)
    throw new VarveError('INVALID_ARGUMENT', `a full snapshot needs no parent, got ${parent}`)
  const paths = snapshotPaths(directory)
  const below = parent === undefined ? undefined : await readSnapshotDirectory(parent)
  await assertRegular(paths.statePath)
  const layer = await indexMemoryFile(paths.memoryPath, {
    kind: below === undefined ? 'base' : 'diff',
    signal,
    ...(onProgress === undefined ? {} : { onProgress }),
  })
  if (below !== undefined && below.layer.pages !== layer.pages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `${paths.memoryPath} has ${layer.pages} pages, its parent ${below.directory} ${below.layer.pages}`,
    )
  for (const path of [paths.statePath, paths.memoryPath]) {
    await chmod(path, 0o600)
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    await handle.sync()
  }
  const manifest: SnapshotManifest = {
    id: randomBytes(16).toString('hex'),
    kind,
    parent: below === undefined ? null : pathToParent(paths.directory, below.directory),
    parentId: below?.manifest.id ?? null,
    createdAt: now().toISOString(),
    firecrackerVersion,
    memoryPages: layer.pages,
    data: layer.data,
    zero: layer.zero,
    machine,
  }
  await writeSnapshotManifest(directory, manifest)
  return { ...paths, manifest, layer }
}

/** Writes snapshot.json, whole or not at all; never over another one. */
export async function writeSnapshotManifest(directory: string, manifest: SnapshotManifest): Promise<void> {
  const { manifestPath, directory: absolute } = snapshotPaths(directory)
  const text = manifestToJson(manifest)
  await publishFile(manifestPath, (handle) => handle.writeFile(text))
  await syncDirectory(dirname(absolute))
}

/** The manifest of a directory, checked; the file may hold anything. NOT_FOUND: no snapshot, or one half-made. */
export async function readSnapshotManifest(directory: string): Promise<SnapshotManifest> {
  const { manifestPath } = snapshotPaths(directory)
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  await using handle = await open(manifestPath, flags).catch((error: NodeJS.ErrnoException) => {
    const code = error.code === 'ENOENT' || error.code === 'ENOTDIR' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot read snapshot manifest ${manifestPath}: ${error.message}`, {
      cause: error,
    })
  })
  const stat = await handle.stat()
  if (!stat.isFile())
    throw new VarveError('PATH_INVALID', `snapshot manifest ${manifestPath} is not a regular file`)
  if (stat.size > maxManifestBytes)
    throw new VarveError(
      'FORMAT_INVALID',
      `${manifestPath}: ${stat.size} bytes, more than ${maxManifestBytes}`,
    )
  const bytes = Buffer.alloc(stat.size)
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length))
  } catch (error) {
    throw new VarveError('FORMAT_INVALID', `${manifestPath}: not UTF-8`, { cause: error })
  }
  return manifestFromJson(text, manifestPath)
}

/** A sealed snapshot: its manifest, and that the files it needs are there with the right size. */
export async function readSnapshotDirectory(directory: string): Promise<SnapshotDirectory> {
  const manifest = await readSnapshotManifest(directory)
  const paths = snapshotPaths(directory)
  const { memoryPages: pages, data, zero } = manifest
  await assertRegular(paths.statePath)
  const memory = await assertRegular(paths.memoryPath)
  if (memory.size !== pages * pageSizeBytes)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `${paths.memoryPath} has ${memory.size} bytes, its manifest says ${pages} pages`,
    )
  return { ...paths, manifest, layer: { memoryPath: paths.memoryPath, pages, data, zero } }
}

async function assertRegular(path: string): Promise<{ readonly size: number }> {
  const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'PATH_INVALID'
    throw new VarveError(code, `cannot use snapshot file ${path}: ${error.message}`, { cause: error })
  })
  if (!stat.isFile()) throw new VarveError('PATH_INVALID', `snapshot file ${path} is not a regular file`)
  return stat
}

/** Relative between neighbours, so that they can be moved together; absolute otherwise. */
function pathToParent(directory: string, parent: string): string {
  const [here, there] = [realpathSync(directory), realpathSync(parent)]
  return dirname(here) === dirname(there) ? `../${basename(there)}` : there
}
