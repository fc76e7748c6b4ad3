export type { AptOptions } from '@varve/guest/testing'
export { tellStory } from './demo/tell-story.js'
export { bringIntoCache, dropFromCache } from './experiments/cache-state.js'
export {
  type EngineSetting,
  type EngineSettingName,
  engineSettingNames,
  engineSettings,
  restoreBy,
  restoreVanilla,
} from './experiments/contenders.js'
export { describeEnvironment, type LabKind } from './experiments/environment.js'
export {
  type Cell,
  defineExperiment,
  type Experiment,
  type ExperimentLab,
  type Factors,
  type FactorValue,
  type Measured,
  type PreparedExperiment,
} from './experiments/experiment.js'
export type { ExplanationRow } from './experiments/explanation-row.js'
export {
  type FoundExperiment,
  findExperiment,
  loadExperimentFile,
  shippedExperiments,
} from './experiments/find-experiment.js'
export {
  type AgentGuest,
  type FunctionSnapshot,
  type FunctionSnapshotOptions,
  functionWork,
  measureColdBoot,
  measureWarm,
  openFunction,
  prepareFunction,
  type RecordedFunction,
  type RecordFunctionOptions,
  recordFunction,
} from './experiments/function-snapshot.js'
export {
  type FunctionCell,
  type FunctionWithSet,
  fitOf,
  measureFunction,
  prepareWithSet,
  withSet,
} from './experiments/measure-function.js'
export { measureVms, type StartedVm, type VmWork } from './experiments/measure-vms.js'
export { type ParsedRows, parseRows } from './experiments/parse-rows.js'
export { type Plan, planOf, type Selection } from './experiments/plan.js'
export { type PreparedEach, prepareEach } from './experiments/prepare-each.js'
export { deviceReadBytes, type ProcessCounters, processCounters } from './experiments/process-counters.js'
export type { CellRow, ExperimentRows, HeaderRow, Row, SetRow } from './experiments/rows.js'
export { RowsFile, readRows } from './experiments/rows-file.js'
export { type RunCellsOptions, type RunMessage, runCells } from './experiments/run-cells.js'
export {
  checkedRounds,
  type RunExperimentOptions,
  roundsIn,
  runExperiment,
} from './experiments/run-experiment.js'
export { labFunction, labFunctions } from './functions/all-functions.js'
export {
  type FunctionInput,
  type FunctionRuntime,
  type InputName,
  inputNames,
  type LabFunction,
} from './functions/function-types.js'
export {
  type CheckedInvocation,
  functionInput,
  type InstallOptions,
  installFunction,
  invokeFunction,
  invokeRight,
} from './functions/invoke-function.js'
export {
  type PreparedFunction,
  type PreparedGuest,
  type PrepareGuestOptions,
  prepareGuest,
} from './functions/prepare-guest.js'
export type { LinuxGuest } from './linux/guest-files.js'
export { guestHere, guestInLab } from './linux/guest-here.js'
export { type LinuxGuestOptions, linuxGuest } from './linux/guest-image.js'
export { nativeLinuxBoots } from './linux/native-linux.js'
export { type BootMicroGuestOptions, bootMicroGuest, type MicroGuest } from './micro/boot-micro-guest.js'
export { buildMicroGuest } from './micro/build-micro-guest.js'
export { type ConsoleTransport, FileTailTransport, type TransportOptions } from './micro/console-transport.js'
export {
  firecrackerBootPages,
  firecrackerLoadPages,
  firstUsablePage,
  microGuestOwnPages,
  microMaxAddressBytes,
  microMemoryMap,
} from './micro/memory-map.js'
export {
  type ConsoleCallOptions,
  MicroConsole,
  type MicroMemory,
  type PassResult,
} from './micro/micro-console.js'
export {
  decodePageWord,
  expectedPage,
  pageWord,
  sumOfPages,
  type TouchPattern,
  touchedPages,
  type WordCount,
} from './micro/patterns.js'
export type { Accelerator } from './nested/accelerator.js'
export type { LabRunResult } from './nested/job.js'
export type { LabRunOptions, NestedLab } from './nested/lab.js'
export { labPaths } from './nested/lab-paths.js'
export { type NestedLabOptions, openNestedLab } from './nested/open-lab.js'
export { openReflinkFileSystem, type ReflinkFileSystem, type ReflinkOptions } from './reflink-file-system.js'
export { rowsPathOf, type WrittenReport, writeReport } from './report/write-report.js'
export { aptInstall, ensureSystemPackages, missingSystemPackages, systemPackages } from './system-packages.js'
