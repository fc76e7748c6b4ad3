import { pageSizeBytes } from '../memory/units.js'
import type { FullVmConfiguration } from './api-types.js'

/** Pages of guest memory, without what can be hot-plugged. */
export const memoryPagesOf = ({
  'machine-config': { mem_size_mib: memoryMib },
}: Pick<FullVmConfiguration, 'machine-config'>): number => (memoryMib * 2 ** 20) / pageSizeBytes
