import { createHash } from 'node:crypto'
import type { ExtentMap } from '../../../layer/extent-map.js'
import { type FlattenOptions, flatten } from '../../../layer/flatten.js'
import type { OpenSnapshot } from '../../../store/snapshot-types.js'
import { deriveFile } from '../../derived-file.js'

/**
 * The file of a patch plan, made once and kept in the store with the flat files, until the snapshot is gone.
 * Another division into layers (`squash`, `pack`) makes another file, so its name tells what is in it.
 */
export async function composedFile(
  snapshot: OpenSnapshot,
  composed: ExtentMap,
  options: FlattenOptions = {},
): Promise<string> {
  const { files, flatPath } = snapshot
  const path = `${flatPath}.patched-${digest(composed, files)}`
  await deriveFile(
    snapshot,
    { path, pages: composed.pages },
    (staged) => flatten({ map: composed, files }, staged, options),
    { signal: options.signal },
  )
  return path
}

function digest(
  { counts, sources, storedStarts }: ExtentMap,
  files: readonly { readonly path: string }[],
): string {
  const hash = createHash('sha256')
  for (const part of [counts, sources, storedStarts]) hash.update(part)
  for (const { path } of files) hash.update(`${path}\n`)
  return hash.digest('hex').slice(0, 16)
}
