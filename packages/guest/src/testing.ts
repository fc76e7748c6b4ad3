/**
 * `@varve/guest/testing`: what the project's own labs, tests and scripts need of the inside. No promise of
 * stability: any release may change it.
 */

export { type NativeAgent, nativeAgent } from './agent/agent-fixture.js'
export { functionName, maxFunctionBytes } from './agent/bounds.js'
export { type ScriptedAgent, type ScriptedHook, scriptedAgent } from './agent/scripted-agent.js'
export { writeEmptyDisk, writeFolderDisk } from './disk/folder-disk.js'
export { type OwnerBox, ownerBoxText, ownerTree } from './explain/owner-tree.js'
export { type MadeImage, type MadeLayer, writeMadeLayout } from './image/made-images/made-layout.js'
export { type MadeEntry, madeTar } from './image/made-images/made-tar.js'
export { guestBootArgs, guestModules } from './kernel/boot-files.js'
export { busyboxBinary, installBusybox } from './kernel/busybox.js'
export { initramfs, startAgentScript, switchRootScript } from './kernel/initramfs.js'
export { kernelModules } from './kernel/kernel-modules.js'
export { kernelPackage } from './kernel/kernel-package.js'
export { unpackVmlinux } from './kernel/vmlinux.js'
export {
  type AptOptions,
  directDependencies,
  isFetched,
  isInstallable,
  packageVersions,
  unpackedPackages,
  withMissingDependencies,
} from './tools/apt-packages.js'
export { BuildKey, buildOnce, labCacheDirectory } from './tools/build-cache.js'
export { runTool } from './tools/run-tool.js'
