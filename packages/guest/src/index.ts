export type { Step } from './agent/agent-call.js'
export { agentProgram, agentProgramPath } from './agent/agent-program.js'
export { agentPort, agentProtocolVersion } from './agent/bounds.js'
export type {
  CommandInput,
  CommandOptions,
  CommandResult,
  GuestCommand,
  SignalName,
} from './agent/command.js'
export type { AgentAddress } from './agent/dial.js'
export type { FileOptions, GuestFile, PutOptions } from './agent/files.js'
export type { Cidr, FixedUp, FixUp, FixUpOptions } from './agent/fix-up.js'
export type {
  FunctionOutput,
  InvokeOptions,
  ListedFunction,
  StartedGuestFunction,
} from './agent/functions.js'
export {
  type AgentAnswer,
  type AgentMachine,
  type GuestAgent,
  type GuestFunctions,
  guestAgent,
  type ShortCallOptions,
} from './agent/guest-agent.js'
export type { HookName, HookResult } from './agent/hooks.js'
export type { MemoryReport } from './agent/memory.js'
export type { PageOwnersOptions } from './agent/page-owners.js'
export type { ExecOptions, ExecResult } from './agent/run-command.js'
export {
  type BootGuestOptions,
  bootGuest,
  type GuestMachineSpec,
} from './boot-guest.js'
export { type BuildGuestOptions, type BuiltGuest, buildGuest } from './build-guest.js'
export type { CatalogueOptions, KeptGuest } from './catalogue/guest-catalogue.js'
export type { GuestFilePart, GuestManifest, GuestRootDisk } from './catalogue/guest-manifest.js'
export { defaultGuestsDirectory } from './catalogue/guest-paths.js'
export { type ExplainOptions, explainPages } from './explain/explain-pages.js'
export {
  type ExplainSnapshotOptions,
  explainMachine,
  explainWorkingSet,
} from './explain/explain-snapshot.js'
export { type Explanation, type OwnedPages, type OwnerPart, ownerParts } from './explain/explanation.js'
export { flameSvg } from './explain/flame-svg.js'
export type { GuestProcess } from './explain/owner-report.js'
export { listGuests, type OpenedGuest, openGuest, removeGuests } from './guests.js'
export type { ImageConfig } from './image/image-config.js'
export {
  type CapturedGuest,
  captureGuest,
} from './lifecycle/capture-guest.js'
export {
  type CloneGuestsOptions,
  cloneGuests,
  type GuestClones,
  type LiveCloneGuestsOptions,
  type LiveGuestClones,
} from './lifecycle/clone-guests.js'
export { type GreetGuestOptions, greetGuest } from './lifecycle/greet-guest.js'
export type { Guest, RestoredGuest } from './lifecycle/guest.js'
export { type HookOptions, type HookOutcome, runLifecycleHook } from './lifecycle/lifecycle-hook.js'
export { type FixUpOfEach, newIdentity, sameIdentity } from './lifecycle/new-identity.js'
export {
  pauseGuest,
  type ResumedGuest,
  type ResumeGuestOptions,
  resumeGuest,
  type TurnedGuest,
} from './lifecycle/pause-guest.js'
export { type RestoreGuestOptions, restoreGuest } from './lifecycle/restore-guest.js'
export { stopGuest } from './lifecycle/stop-guest.js'
export { whileSuspended } from './lifecycle/while-suspended.js'
