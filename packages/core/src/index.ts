export { cacheDirectory } from './cache-directory.js'
export * from './errors.js'
export { type ApiClient, type CallOptions, connectApi } from './firecracker/api-client.js'
export type * as api from './firecracker/api-types.js'
export {
  type BinaryOrigin,
  describeOrigin,
  type FindBinaryOptions,
  type FirecrackerBinary,
  findFirecracker,
  pinnedRelease,
} from './firecracker/binary.js'
export {
  type FirecrackerVersion,
  formatFirecrackerVersion,
  parseFirecrackerVersion,
  supportedVersions,
} from './firecracker/version.js'
export type { VmmFiles } from './firecracker/vmm-files.js'
export type { JailerOptions, VmmExit, VmmPaths } from './firecracker/vmm-process.js'
export { type ConnectVsockOptions, connectVsock } from './firecracker/vsock.js'
export { connectMachine, type FindOptions, stopMachine } from './machine/connect-machine.js'
export { checkHost, type HostCheck, hardwareVirtualisation } from './machine/doctor.js'
export { onProcessEnd } from './machine/exit-hooks.js'
export { bootMachine, type LaunchMachineOptions, launchMachine } from './machine/launch-machine.js'
export type { LaunchedMachine, LoadOptions, MemorySource } from './machine/launched-machine.js'
export { type LinuxVerdict, recallLinuxVerdict, rememberLinuxVerdict } from './machine/linux-verdict.js'
export {
  type DiskSpec,
  defaultBootArgs,
  type MachineSpec,
  machineSpec,
  type NetworkSpec,
  readMachineSpec,
} from './machine/machine-spec.js'
export type { PausedMachine, SnapshotFiles, SnapshotOptions } from './machine/paused-machine.js'
export type { RunningMachine } from './machine/running-machine.js'
export {
  listMachines,
  type MachineRecord,
  type RecordedMachine,
  runtimeDirectory,
} from './machine/runtime-directory.js'
export * from './memory/units.js'
export { isAlive, type ProcessIdentity, processIdentity, residentBytes } from './sys/proc.js'
