export { abortError, throwIfAborted } from './abort-error.js'
export { cacheDirectory } from './cache-directory.js'
export {
  type CapturedSnapshot,
  captureSnapshot,
  type SealSnapshotOptions,
  type TakenSnapshot,
  type TakeOptions,
  takeSnapshot,
} from './capture/capture-snapshot.js'
export type { LostLineage, ParentOptions } from './capture/choose-parent.js'
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
export { type ApiClient, type CallOptions, connectApi } from './firecracker/api-client.js'
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
export type { JailerOptions } from './firecracker/jailer.js'
export { type PinnedRelease, pinnedRelease, pinnedReleases } from './firecracker/pinned-releases.js'
export { loadsSnapshotsOf } from './firecracker/snapshot-series.js'
export { checkCrc, crc64Jones, writeCrc } from './firecracker/state-file/crc64.js'
export { type StateFileArch, type StateFormat, stateFormats } from './firecracker/state-file/formats.js'
export { readStateFile, type StateFile } from './firecracker/state-file/read-state-file.js'
export type { MemoryRegion, RegionType } from './firecracker/state-file/regions.js'
export { type RegionSpec, replaceRegions } from './firecracker/state-file/replace-regions.js'
export type { VmInfo } from './firecracker/state-file/vm-info.js'
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
export { checkHost, type HostCheck, hardwareVirtualisation } from './host/doctor.js'
export { type LinuxVerdict, recallLinuxVerdict, rememberLinuxVerdict } from './host/linux-verdict.js'
export { assertLabels, hasLabels, type Labels, maxLabels } from './labels.js'
export { type CompareOptions, compareImages } from './layer/compare-images.js'
export { composeExtentMap, stackLayer, zeroMap } from './layer/compose-extent-map.js'
export type { CopyReport } from './layer/copy-pages.js'
export {
  type ExtentMap,
  imagePages,
  lookupPage,
  type PageSource,
  pagesFrom,
  zeroSource,
} from './layer/extent-map.js'
export { type ExtentMapJson, extentMapFromJson, extentMapToJson } from './layer/extent-map-json.js'
export { type FlattenOptions, type FlattenResult, flatten } from './layer/flatten.js'
export type { Image, ImageSource } from './layer/image-reader.js'
export {
  assertFinePages,
  type IndexedMemoryFile,
  type IndexOptions,
  indexMemoryFile,
} from './layer/index-memory-file.js'
export {
  readLayer,
  type SealOptions,
  sealLayer,
  type VerifyOptions,
  verifyLayer,
} from './layer/layer-file.js'
export {
  countPages,
  dataPages,
  flatIndex,
  type StoredRun,
  storedRuns,
  zeroPages,
} from './layer/layer-index.js'
export {
  type CopyMethod,
  type ImageId,
  type Layer,
  type LayerFile,
  type LayerIndex,
  type LayerLayout,
  type PackOrder,
  zeroPage,
} from './layer/layer-types.js'
export { readLayeredMemory, writeLayeredMemory } from './layer/layered-memory.js'
export { type PackOptions, packLayer } from './layer/pack.js'
export { type NamedImage, rebaseLayer } from './layer/rebase.js'
export { squashLayers } from './layer/squash.js'
export type { ComposedLayer, ComposeOptions } from './layer/write-layer.js'
export { connectMachine, type FindOptions, stopMachine } from './machine/connect-machine.js'
export { type AttachedDisk, copyDisk, type DiskSource } from './machine/disks.js'
export type { ReapedMachine } from './machine/end-machine.js'
export { bootMachine, type LaunchMachineOptions, launchMachine } from './machine/launch-machine.js'
export type { LaunchedMachine, LoadOptions, MemorySource } from './machine/launched-machine.js'
export type { MachineRecord } from './machine/machine-record.js'
export { type DiskSpec, defaultBootArgs, type MachineSpec, type NetworkSpec } from './machine/machine-spec.js'
export type { PausedMachine, RunningMachine } from './machine/machine-states.js'
export { machineSpec, readMachineSpec } from './machine/read-machine-spec.js'
export {
  type ListMachinesOptions,
  listMachines,
  type RecordedMachine,
  reapMachines,
  runtimeDirectory,
} from './machine/runtime-directory.js'
export type { SnapshotFiles, SnapshotOptions, WrittenSnapshot } from './machine/write-snapshot.js'
export { atLeast } from './memory/at-least.js'
export {
  type ClassifyInput,
  classify,
  classOf,
  countClasses,
  type PageClass,
  type PageClasses,
  pageClasses,
} from './memory/classes.js'
export { cellCounts, dominantClass, type GridSize, type HeatMap, heatMap } from './memory/heat-map.js'
export { pageRange, pageSetFromBytes, pageSetFromPages, pageSetFromRuns } from './memory/make-page-set.js'
export { emptyPageSet, equals, has, type PageRun, type PageSet, pagesOf, runsOf } from './memory/page-set.js'
export {
  clip,
  complement,
  intersect,
  mergeGaps,
  minus,
  union,
  unionAll,
} from './memory/page-set-algebra.js'
export * from './memory/units.js'
export { type NotFoundKind, notFound, notFoundKinds, pathError } from './not-found.js'
export { handOverPageServer } from './page-server/client/ensure-page-server.js'
export type { PageServerStats } from './page-server/client/page-server-client.js'
export type { PageServer } from './page-server/client/start-page-server.js'
export type { ServedPrefetch } from './page-server/prefetch/prefetch.js'
export type { ServingProcesses } from './page-server/protocol/control.js'
export type { ServedGraduation } from './page-server/protocol/served-graduation.js'
export { chooseEngine, type EngineChoice, type EngineFacts, engineFacts } from './restore/choose-engine.js'
export type { VmmOfRestore } from './restore/choose-vmm.js'
export { type CloneOptions, type Clones, cloneMachines } from './restore/clone-machines.js'
export {
  type EngineName,
  engineChoices,
  engineNames,
  experimentalEngineNames,
} from './restore/engine-names.js'
export { type FlattenedSnapshot, flattenSnapshot } from './restore/flat-file.js'
export { loadOptionsOf } from './restore/load-options.js'
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
export { type FittedWorkingSet, fitWorkingSet, type WorkingSetPlaces } from './store/fit-working-set.js'
export { defaultStoreDirectory, LocalStore, openLocalStore } from './store/local-store.js'
export { type PackedSnapshot, type PackSnapshotOptions, packSnapshot } from './store/pack-snapshot.js'
export {
  type SquashedSnapshot,
  type SquashSnapshotOptions,
  squashSnapshot,
} from './store/squash-snapshot.js'
export type * from './store/store-types.js'
export { type LogUse, logUse } from './sys/bounded-log.js'
export { onProcessEnd } from './sys/exit-hooks.js'
export { dropPageCache } from './sys/fadvise.js'
export { type FaultAroundObstacle, faultAroundBytes, faultAroundObstacle } from './sys/fault-around.js'
export { lockDescriptor } from './sys/file-lock.js'
export type { Holder } from './sys/holder.js'
export type { LifeLock } from './sys/life-lock.js'
export { canSeeResidency, residentPages } from './sys/mincore.js'
export {
  isAlive,
  type MemoryUse,
  memoryUse,
  type PageFaults,
  type ProcessIdentity,
  processIdentity,
  residentBytes,
} from './sys/proc.js'
export { classifyRun, type RunRecord, writtenPages } from './working-set/classify-run.js'
export {
  clipWorkingSet,
  commonOfWorkingSets,
  intersectWorkingSets,
  minusWorkingSets,
  unionOfWorkingSets,
  withGapsMerged,
} from './working-set/combine.js'
export {
  compareSets,
  compareWorkingSets,
  coverage,
  type DriftStep,
  drift,
  type GroupComparison,
  jaccard,
  type SetComparison,
  type WorkingSetComparison,
} from './working-set/compare.js'
export { diffRecorder, type RecordDiffOptions, recordDiff } from './working-set/diff-recorder.js'
export { faultsRecorder, type RecordFaultsOptions, recordFaults } from './working-set/faults-recorder.js'
export {
  classColours,
  groupMapPng,
  type HeatMapPngOptions,
  heatMapPng,
} from './working-set/heat-map-png.js'
export { mincoreRecorder, type RecordMincoreOptions, recordMincore } from './working-set/mincore-recorder.js'
export {
  pagemapRecorder,
  type RecordPagemapOptions,
  recordPagemap,
} from './working-set/pagemap-recorder.js'
export type { Colour } from './working-set/png.js'
export {
  type AnyRecordOptions,
  type JointRecording,
  recorders,
  recordTogether,
} from './working-set/record.js'
export {
  type AfterRecorded,
  type DiffSource,
  type FaultSource,
  type FaultTrace,
  type RecordedPages,
  type Recorder,
  type RecorderName,
  type Recording,
  type RecordingEnd,
  type RecordOptions,
  type RecordTarget,
  recorderNames,
} from './working-set/recording.js'
export {
  type ImagePlaces,
  type TranslatedWorkingSet,
  translateWorkingSet,
} from './working-set/translate.js'
export {
  assertWorkingSetName,
  assertWorkingSetOf,
  checkWorkingSet,
  type Json,
  maxGroups,
  maxNotesBytes,
  maxNotesDepth,
  presentPages,
  touchOrder,
  type WorkingSet,
  type WorkingSetGroup,
  type WorkingSetPart,
} from './working-set/working-set.js'
export { workingSetFromBytes, workingSetToBytes } from './working-set/working-set-bytes.js'
export {
  readWorkingSet,
  type WorkingSetFileOptions,
  writeWorkingSet,
} from './working-set/working-set-file.js'
export { type WorkingSetOfOptions, workingSetOf } from './working-set/working-set-of.js'
