import { lstat, mkdir, readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Fields, readJsonFile } from '../content/checked-json.js'
import { isVarveError, VarveError } from '../errors.js'
import { notFound, pathError } from '../not-found.js'
import { lock } from '../sys/file-lock.js'
import { makeDirectory, syncDirectory } from '../sys/mutations.js'
import { assertOwnDirectory } from '../sys/own-directory.js'
import { statOrNone } from './blobs.js'
import { emptyIndex, indexToJson } from './reference-index.js'
import type { StorePaths } from './store-paths.js'
import { replaceFile } from './write-whole.js'

const layoutVersion = '1.0.0'

/** Makes what of a store is not there yet. A directory with other things in it is refused. */
export async function createLayout(paths: StorePaths): Promise<void> {
  await mkdir(dirname(paths.directory), { recursive: true })
  if (await makeMissing(paths.directory)) await syncDirectory(dirname(paths.directory))
  assertOwnDirectory(paths.directory)
  if ((await statOrNone(paths.layout)) !== undefined && (await statOrNone(paths.index)) !== undefined) {
    await makeOwnDirectories(paths)
    return
  }
  const others = (await readdir(paths.directory)).filter((name) => !ownNames.test(name))
  if (others.length > 0)
    throw new VarveError(
      'FORMAT_INVALID',
      `${paths.directory} is not a store, and not empty (it has ${others.slice(0, 3).join(', ')})`,
      { remedy: 'use an empty directory' },
    )
  await makeOwnDirectories(paths)
  const held = await lock(paths.lock)
  try {
    if ((await statOrNone(paths.index)) === undefined) await replaceFile(paths.index, indexToJson(emptyIndex))
    // Last: a directory without it is no store yet.
    if ((await statOrNone(paths.layout)) === undefined)
      await replaceFile(paths.layout, Buffer.from(JSON.stringify({ imageLayoutVersion: layoutVersion })))
  } finally {
    await held[Symbol.asyncDispose]()
  }
}

const ownNames = /^(oci-layout|index\.json|blobs|varve)(\.tmp-[0-9a-f]+)?$/

async function makeOwnDirectories(paths: StorePaths): Promise<void> {
  for (const directory of ownDirectories(paths)) {
    await makeMissing(directory)
    // Check before anything is made in it: the target of a link does not belong to the store.
    assertOwnDirectory(directory)
  }
}

/** PATH_INVALID unless all of a store's directories are real and belong to this user alone. */
export function assertOwnDirectories(paths: StorePaths): void {
  for (const directory of ownDirectories(paths)) assertOwnDirectory(directory)
}

/** Outer ones first. */
function ownDirectories({ directory, blobs, staging, ...paths }: StorePaths): readonly string[] {
  const { leases, garbage, verified, flat, clones } = paths
  const outer = [directory, dirname(blobs), dirname(staging)]
  return [...outer, blobs, staging, leases, garbage, verified, flat, clones]
}

async function makeMissing(directory: string): Promise<boolean> {
  try {
    await makeDirectory(directory)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw isVarveError(error)
      ? error
      : new VarveError('PATH_INVALID', `cannot make ${directory}: ${(error as Error).message}`, {
          cause: error,
        })
  }
}

/** Checks that there is a store of a known version, in real directories of this user alone. */
export async function openLayout(paths: StorePaths): Promise<void> {
  const { directory, layout } = paths
  await lstat(directory).catch((cause: NodeJS.ErrnoException) => {
    throw pathError(cause, `no store at ${directory}: ${cause.message}`, {
      kind: 'store',
      remedy: 'the first snapshot makes one: varve snapshot create',
    })
  })
  assertOwnDirectory(directory)
  if ((await statOrNone(layout)) === undefined)
    throw notFound('store', `${directory} is not a store: it has no oci-layout`, {
      remedy: 'the first snapshot makes one: varve snapshot create',
      details: { path: layout },
    })
  const fields = new Fields(layout, readJsonFile(layout, 4096))
  const version = fields.text('imageLayoutVersion', /^\d+\.\d+\.\d+$/, 'a version')
  if (version !== layoutVersion)
    throw new VarveError('FORMAT_UNSUPPORTED', `${layout}: OCI layout ${version}, not ${layoutVersion}`, {
      details: { path: layout, offset: 0 },
    })
  await makeOwnDirectories(paths)
}
