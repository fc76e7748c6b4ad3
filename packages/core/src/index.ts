/**
 * `varve`: machines, their snapshots and the places that keep these: boot, capture, restore, clone, the
 * store, checks of the host, errors.
 */

export { throwIfAborted } from './abort-error.js'
export { cacheDirectory } from './cache-directory.js'
export type {
  CapturedSnapshot,
  CaptureMode,
  CaptureWay,
  SealSnapshotOptions,
  TakenSnapshot,
  TakeOptions,
} from './capture/capture-types.js'
export type { LostLineage, ParentOptions } from './capture/choose-parent.js'
export { captureSnapshot, takeSnapshot } from './capture/take-snapshot.js'
export { timeTag } from './capture/time-tag.js'
export { type WatchOptions, type WatchTurn, watchMachine } from './capture/watch-machine.js'
export type { LiveCloneOptions, LiveClones } from './clone/clone-live.js'
export { cloneMachines } from './clone/clone-machines.js'
export type { CloneOptions } from './clone/clone-snapshot.js'
export type { Clones, FailedClone, OnCloneFailure } from './clone/clones.js'
export type { EachClone } from './clone/own-options.js'
export type {
  BlobContent,
  BlobSource,
  BlobStat,
  BlobToPut,
  ByteRange,
  OpenBlob,
  SourceOptions,
} from './content/blob-source.js'
export type { Descriptor, Digest } from './content/descriptors.js'
export type { Reference, RefSource } from './content/ref-source.js'
export { assertTag, type ReferencedSnapshot, referencedSnapshot, referenceTo } from './content/references.js'
export * from './errors.js'
export type { ApiClient, CallOptions } from './firecracker/api-client.js'
export type * as api from './firecracker/api-types.js'
export {
  type BinaryOrigin,
  type ChosenFirecracker,
  describeOrigin,
  type FindBinaryOptions,
  type FirecrackerBinary,
  findFirecracker,
  findFirecrackerFor,
} from './firecracker/binary.js'
export { type BinaryFolder, binariesIn } from './firecracker/binary-folder.js'
export type { BinaryPlaces } from './firecracker/binary-places.js'
export type { JailerOptions } from './firecracker/jailer.js'
export {
  type FirecrackerVersion,
  formatFirecrackerVersion,
  parseFirecrackerVersion,
  supportedVersions,
} from './firecracker/version.js'
export { type VersionFact, versionFacts } from './firecracker/version-facts.js'
export type { VmmExit } from './firecracker/vmm-exit.js'
export type { VmmFiles } from './firecracker/vmm-files.js'
export type { VmmPaths } from './firecracker/vmm-paths.js'
export { type ConnectVsockOptions, connectVsock } from './firecracker/vsock.js'
export type { GuestAgentPlace } from './guest-agent-place.js'
export { checkHost, type HostCheck } from './host/doctor.js'
export { assertLabels, hasLabels, type Labels, maxLabels } from './labels.js'
export { connectMachine, type FindOptions, stopMachine } from './machine/connect-machine.js'
export { type AttachedDisk, copyDisk, type DiskSource } from './machine/disks.js'
export type { ReapedMachine } from './machine/end-machine.js'
export { frozenMemory, type HeldMemory } from './machine/frozen-memory-of.js'
export { bootMachine, type LaunchMachineOptions, launchMachine } from './machine/launch-machine.js'
export type { BootOptions, LaunchedMachine, LoadOptions, MemorySource } from './machine/launched-machine.js'
export type { MachineRecord } from './machine/machine-record.js'
export {
  type BalloonSpec,
  type DiskSpec,
  defaultBootArgs,
  type EntropySpec,
  type HotplugMemorySpec,
  type MachineSpec,
  type MmdsSpec,
  type NetworkSpec,
  type PmemSpec,
  type RateLimit,
  type TokenBucket,
} from './machine/machine-spec.js'
export type { PausedMachine, RunningMachine } from './machine/machine-states.js'
export { machineSpec, readMachineSpec } from './machine/read-machine-spec.js'
export {
  type ListMachinesOptions,
  listMachines,
  type RecordedMachine,
  reapMachines,
} from './machine/runtime-directory.js'
export type { SnapshotFiles, SnapshotOptions, WrittenSnapshot } from './machine/write-snapshot.js'
export { pageSizeBytes } from './memory/units.js'
export { type NotFoundKind, notFound, notFoundKinds, pathError } from './not-found.js'
export { handOverPageServer } from './page-server/client/ensure-page-server.js'
export type { PageServerStats } from './page-server/client/page-server-client.js'
export type { PageServer } from './page-server/client/start-page-server.js'
export type { ServedPrefetch } from './page-server/prefetch/prefetch.js'
export type { ServingProcesses } from './page-server/protocol/control.js'
export type { ServedGraduation } from './page-server/protocol/served-graduation.js'
export type { EngineChoice } from './restore/choose-engine.js'
export type { VmmOfRestore } from './restore/choose-vmm.js'
export {
  type EngineName,
  engineChoices,
  engineNames,
  experimentalEngineNames,
} from './restore/engine-names.js'
export type { FixUp, FixUpCall, FixUpStep } from './restore/fix-up.js'
export { type FlattenedSnapshot, flattenSnapshot } from './restore/flat-file.js'
export { type PrefetchMode, type PrefetchReport, prefetchModes } from './restore/prefetch.js'
export {
  type CheckSnapshotOptions,
  checkSnapshot,
  type SnapshotPlace,
} from './restore/preflight/check-snapshot.js'
export type { HostFacts } from './restore/preflight/host-checks.js'
export type { SnapshotCheck } from './restore/preflight/snapshot-check.js'
export {
  type ImageTarget,
  type MachineRecording,
  type RecordMachineOptions,
  recordMachine,
} from './restore/record-machine.js'
export type { RestoreFrozenOptions } from './restore/restore-frozen.js'
export {
  type RestoredLayeredMemory,
  type RestoreLayeredMemoryOptions,
  restoreLayeredMemory,
} from './restore/restore-layered-memory.js'
export { restoreMachine } from './restore/restore-machine.js'
export type { RestoreOptions, RestoreSources } from './restore/restore-options.js'
export type { PagesOfImage, RestoreReport } from './restore/restore-report.js'
export type { Restored } from './restore/restored.js'
export { type PrefetchedPages, type RestoreUsage, restoreUsage } from './restore/usage/restore-usage.js'
export { defaultStoreDirectory, LocalStore, openLocalStore } from './store/local-store.js'
export { type PackedSnapshot, type PackSnapshotOptions, packSnapshot } from './store/pack-snapshot.js'
export type * from './store/snapshot-store.js'
export type * from './store/snapshot-types.js'
export { type SquashedSnapshot, type SquashSnapshotOptions, squashSnapshot } from './store/squash-snapshot.js'
export type * from './store/store-reports.js'
export { type LogUse, logUse } from './sys/bounded-log.js'
export type { Holder } from './sys/holder.js'
export type { LifeLock } from './sys/life-lock.js'
export {
  type MemoryUse,
  memoryUse,
  type PageFaults,
  type ProcessIdentity,
  residentBytes,
} from './sys/proc.js'
export { runtimeDirectory } from './usable-runtime.js'
