export { tellStory } from './demo/tell-story.js'
export { type AgentCallOptions, type GuestAgent, guestAgent } from './linux/agent-client.js'
export type { AptOptions } from './linux/apt-packages.js'
export { emptyExt4Image } from './linux/ext4-image.js'
export type { LinuxGuest } from './linux/guest-files.js'
export { linuxGuest } from './linux/guest-image.js'
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
