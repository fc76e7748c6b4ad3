export { tellStory } from './demo/tell-story.js'
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
export {
  type AgentCallOptions,
  connectAgent,
  type FixUp,
  type GuestAgent,
  guestAgent,
  type Invocation,
} from './linux/agent-client.js'
export type {
  AgentHello,
  FixedUp,
  GuestMemory,
  RunningFunction,
  StartedFunction,
} from './linux/agent-replies.js'
export type { AptOptions } from './linux/apt-packages.js'
export { emptyExt4Image } from './linux/ext4-image.js'
export type { LinuxGuest } from './linux/guest-files.js'
export { guestHere } from './linux/guest-here.js'
export { type LinuxGuestOptions, linuxGuest } from './linux/guest-image.js'
export { nativeLinuxBoots } from './linux/native-linux.js'
export { type BootMicroGuestOptions, bootMicroGuest, type MicroGuest } from './micro/boot-micro-guest.js'
export { buildMicroGuest } from './micro/build-micro-guest.js'
export { type ConsoleTransport, FileTailTransport, type TransportOptions } from './micro/console-transport.js'
export {
  firecrackerBootPages,
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
export { guestInLab, labPaths } from './nested/lab-paths.js'
export { type NestedLabOptions, openNestedLab } from './nested/open-lab.js'
export { openReflinkFileSystem, type ReflinkFileSystem, type ReflinkOptions } from './reflink-file-system.js'
export { scenarios } from './scenarios/all-scenarios.js'
export {
  runScenario,
  type Scenario,
  type ScenarioContext,
  type ScenarioOutcome,
} from './scenarios/scenario.js'
export { aptInstall, ensureSystemPackages, missingSystemPackages, systemPackages } from './system-packages.js'
