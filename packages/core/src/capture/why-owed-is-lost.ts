import { isVarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { memoryPagesOf } from '../firecracker/memory-pages.js'
import { readOwedPages } from '../freezer/owed-pages.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import { owedPagesPath } from '../machine/write-live.js'

/** Why the pages that the machine owes cannot be told; undefined if they can, or if it owes none. */
export function whyOwedIsLost(
  { owed, paths }: MachineHandle,
  vmConfig: FullVmConfiguration,
): string | undefined {
  if (owed === null) return undefined
  const path = owedPagesPath(paths.directory)
  try {
    const { from } = readOwedPages(path, memoryPagesOf(vmConfig))
    if (from === owed.from) return undefined
    return `the owed pages ${path} count from ${from ?? 'the boot'}, not from ${owed.from ?? 'the boot'}`
  } catch (error) {
    if (isVarveError(error)) return error.message
    return `the owed pages cannot be read: ${(error as Error).message}`
  }
}
