/**
 * `varve/state-files`: the two files that Firecracker writes, without a VM: read a state file, check and
 * write its checksum, change its memory regions, and say what a state file and a memory file hold.
 */

export { explainRegions } from './firecracker/inspect/explain-regions.js'
export {
  type ExtentKind,
  type InspectMemoryOptions,
  inspectMemoryFile,
  type KindTotals,
  type MemoryExtent,
  type MemoryFileReport,
  memoryExtents,
} from './firecracker/inspect/inspect-memory-file.js'
export {
  inspectStateFile,
  isStateFile,
  type StateFileReport,
} from './firecracker/inspect/inspect-state-file.js'
export { loadsSnapshotsOf } from './firecracker/snapshot-series.js'
export { checkCrc, crc64Jones, writeCrc } from './firecracker/state-file/crc64.js'
export { type StateFileArch, type StateFormat, stateFormats } from './firecracker/state-file/formats.js'
export { readStateFile, type StateFile } from './firecracker/state-file/read-state-file.js'
export type { MemoryRegion, RegionType } from './firecracker/state-file/regions.js'
export { type RegionSpec, replaceRegions } from './firecracker/state-file/replace-regions.js'
export type { VmInfo } from './firecracker/state-file/vm-info.js'
export { type ByteOffset, byteOffset, type GuestAddress, guestAddress } from './memory/units.js'
