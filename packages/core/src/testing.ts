/**
 * `varve/testing`: what the project's own tests, scripts and benchmarks need of the inside. No promise of
 * stability: any release may change it.
 */

export { abortError } from './abort-error.js'
export { checkedContent } from './content/checked-content.js'
export { Fields, parseJson, readJsonFile } from './content/checked-json.js'
export { assertRange } from './content/checked-range.js'
export {
  annotations,
  descriptorFromJson,
  digestOf,
  hexOf,
  idPattern,
  isDigest,
  maxSmallBytes,
  mediaTypes,
  timePattern,
} from './content/descriptors.js'
export { hashBytes, hashFile } from './content/hash-file.js'
export { MemoryBlobs } from './content/memory-blobs.js'
export { MemoryRefs } from './content/memory-refs.js'
export { tagPattern } from './content/references.js'
export { isExecutable } from './firecracker/is-executable.js'
export { seedStateFiles } from './firecracker/state-file/made-files/seeds.js'
export { FirstAbort } from './first-abort.js'
export { Freezer } from './freezer/freezer.js'
export { endIdleFreezer } from './freezer/freezer-process.js'
export { hardwareVirtualisation } from './host/doctor.js'
export { type LinuxVerdict, recallLinuxVerdict, rememberLinuxVerdict } from './host/linux-verdict.js'
export { ChunkChecksums } from './layer/chunk-checksums.js'
export { extentMapToBytes, maxExtentMapBytes } from './layer/extent-map-bytes.js'
export { appendFooter, sealPacked } from './layer/layer-file.js'
export { largestLayerBytes } from './layer/layer-footer.js'
export { readAt } from './layer/memory-file.js'
export { publishFile } from './layer/publish-file.js'
export { throwIfAborted } from './layer/throw-if-aborted.js'
export { changeRecord } from './machine/machine-record.js'
export { claimMachineDirectory } from './machine/runtime-directory.js'
export type { MapOrder } from './mapper/map-into-vmm.js'
export { mapperProgram } from './mapper/mapper.js'
export { type MapperAnswer, orderToJson } from './mapper/mapper-protocol.js'
export type { FrozenSource } from './memory/frozen-source.js'
export { RunBuilder } from './memory/run-builder.js'
export { ensurePageServer } from './page-server/client/ensure-page-server.js'
export { type PageServerClient, replaceFrozen } from './page-server/client/page-server-client.js'
export { orderService, startPageServer } from './page-server/client/start-page-server.js'
export { askPageServer, isGone } from './page-server/protocol/ask-page-server.js'
export { type PageServerConfig, pageServerConfigToJson } from './page-server/protocol/config.js'
export { pageServerFiles, pageServerRoot } from './page-server/protocol/page-server-files.js'
export { recordedFromJson } from './page-server/protocol/recorded-answer.js'
export { loadOptionsOf } from './restore/load-options.js'
export { leftClones } from './store/clone-directories.js'
export { leaseToSelf } from './store/leases.js'
export { entriesOf, manifestFromJson, manifestToJson, type SnapshotManifest } from './store/manifest.js'
export { indexToJson } from './store/reference-index.js'
export { snapshotConfigFromJson } from './store/snapshot-config.js'
export { deadStagings, makeStaging } from './store/staging.js'
export { storePaths } from './store/store-paths.js'
export { replaceFile } from './store/write-whole.js'
export { UFFD_FEATURE_EVENT_REMOVE } from './sys/abi.js'
export { threadCpus } from './sys/affinity.js'
export { onProcessEnd } from './sys/exit-hooks.js'
export { dataExtents } from './sys/extents.js'
export { adviseRandom, dropPageCache } from './sys/fadvise.js'
export {
  type FaultAroundObstacle,
  faultAroundBytes,
  faultAroundObstacle,
  holdFaultAround,
} from './sys/fault-around.js'
export { sendMessage } from './sys/fd-passing.js'
export { type FileLock, flockShared, lock, lockDescriptor, tryLock } from './sys/file-lock.js'
export { Injection } from './sys/inject/injection.js'
export { Tracee } from './sys/inject/ptrace.js'
export { discardPages, mapAnonymous, mapHugePages, populateForReading } from './sys/memory-map.js'
export { canSeeResidency, residentPages } from './sys/mincore.js'
export {
  createFile,
  type Mutation,
  makeDirectory,
  observeMutations,
  openForWriting,
  refuse,
  removeDirectory,
  removeFile,
  renameFile,
  syncDirectory,
  syncFile,
  truncate,
  type WritableFile,
  writeAt,
} from './sys/mutations.js'
export { openRegular } from './sys/open-regular.js'
export { assertOwnDirectory } from './sys/own-directory.js'
export { Pagemap } from './sys/pagemap.js'
export { killProcess } from './sys/pidfd.js'
export { fileIdentity, isAlive, openDescriptors, processIdentity } from './sys/proc.js'
export { probeReflink } from './sys/reflink.js'
export { removeTree } from './sys/remove-tree.js'
export { readSmallFile } from './sys/small-file.js'
export { spawnProcess } from './sys/spawn.js'
export { createUserfaultfd, registerMissing, UserfaultOps } from './sys/userfaultfd.js'
