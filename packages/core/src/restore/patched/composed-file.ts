import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { ExtentMap } from '../../layer/extent-map.js'
import { type FlattenOptions, flatten } from '../../layer/flatten.js'
import type { OpenSnapshot } from '../../store/store-types.js'
import { isIntact, publishDerived } from '../derived-file.js'

/**
 * The file of a patch plan, made once and kept in the store beside flat files, until the snapshot is gone. Another division into
 * layers (`squash`, `pack`) makes another file, so its name tells what is in it.
 */
export async function composedFile(
  snapshot: OpenSnapshot,
  composed: ExtentMap,
  options: FlattenOptions = {},
): Promise<string> {
  const { files, flatPath } = snapshot
  const path = `${flatPath}.patched-${digest(composed, files)}`
  if (await isIntact(path, composed.pages)) return path
  await using staging = await snapshot.stage()
  const staged = join(staging.directory, 'patched')
  await flatten({ map: composed, files }, staged, options)
  // Another restore may have been faster, and a VM may have its file mapped already.
  if (!(await isIntact(path, composed.pages))) await publishDerived(staged, path)
  return path
}

function digest(
  { counts, sources, sourcePages }: ExtentMap,
  files: readonly { readonly path: string }[],
): string {
  const hash = createHash('sha256')
  for (const part of [counts, sources, sourcePages]) hash.update(part)
  for (const { path } of files) hash.update(`${path}\n`)
  return hash.digest('hex').slice(0, 16)
}
