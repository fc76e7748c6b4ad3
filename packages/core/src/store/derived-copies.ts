import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageId } from '../layer/layer-types.js'
import type { Repository } from './repository.js'
import type { DerivedCopy } from './store-reports.js'

/** `ID`, or `ID.patched-DIGEST`; marks and half-written files have other names. */
const name = /^([0-9a-f]{32})(\.patched-[0-9a-f]+)?$/

/** What is in `varve/flat` of one snapshot or of the whole repository. */
export async function measureCopies(
  repository: Repository,
  { ref }: { readonly ref?: string | undefined },
): Promise<readonly DerivedCopy[]> {
  const only = ref === undefined ? undefined : (await repository.resolve(ref)).id
  const copies: DerivedCopy[] = []
  for (const file of (await readdir(repository.paths.flat)).sort()) {
    const [, id, patched] = name.exec(file) ?? []
    if (id === undefined || (only !== undefined && id !== only)) continue
    const path = join(repository.paths.flat, file)
    const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
      // gc removed it meanwhile.
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (found?.isFile() !== true) continue
    copies.push({
      snapshot: id as ImageId,
      kind: patched === undefined ? 'flat' : 'patched',
      path,
      sizeBytes: found.size,
      diskBytes: found.blocks * 512,
    })
  }
  return copies
}
