import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AptOptions,
  BuildKey,
  buildOnce,
  busyboxBinary,
  initramfs,
  installBusybox,
  kernelModules,
  kernelPackage,
  packageVersions,
  unpackVmlinux,
} from '@varve/guest/testing'
import { ext4Image } from './ext4-image.js'
import { guestBootArgs, type LinuxGuest } from './guest-files.js'
import { guestStart } from './guest-start.js'
import { installPython, pythonPackages } from './python.js'
import { copyLibraries, sharedLibraries } from './shared-libraries.js'

export interface LinuxGuestOptions extends AptOptions {
  /** Debian packages of Python modules, beyond numpy and PIL, for the root file system made here. */
  readonly packages?: readonly string[]
  /**
   * An ext4 image of your own in its place, with the folders dev, proc, run, sys
   * and tmp; it is mounted read-only.
   */
  readonly rootfs?: string
  /**
   * What is started in it, again whenever it ends, and speaks docs/formats/agent-protocol.md on vsock.
   * Default: our agent, by `python3`, which a root file system of your own then has to have, 3.9 or later.
   */
  readonly agentCommand?: readonly string[]
}

/**
 * virtio-mmio devices are found by ACPI from Firecracker 1.8 on; kernels that
 * build them in have less to insert.
 */
const guestModules = [
  'virtio_mmio',
  'virtio_blk',
  'virtio-rng',
  'virtio_balloon',
  'vmw_vsock_virtio_transport',
] as const

/** Changes of what is built below, other than of its inputs, count this up. */
const guestImageVersion = 4

/**
 * Builds (or finds in the cache) the guest: Debian's kernel for VMs, a root file
 * system, and an agent on vsock.
 */
export async function linuxGuest(options: LinuxGuestOptions = {}): Promise<LinuxGuest> {
  const busybox = await busyboxBinary(options)
  const boot = await bootFiles(busybox, options)
  return {
    kernel: join(boot, 'vmlinux'),
    initrd: join(boot, 'initramfs.cpio'),
    rootDisk: options.rootfs ?? join(await rootFileSystem(busybox, options), 'rootfs.ext4'),
    bootArgs: guestBootArgs,
  }
}

/**
 * The kernel, and a first stage that brings the agent along: so another agent
 * needs no other root file system.
 */
async function bootFiles(busybox: string, options: LinuxGuestOptions): Promise<string> {
  const { signal, onProgress, agentCommand } = options
  const abort = { signal }
  const kernel = await kernelPackage(options)
  const { files, script } = guestStart(agentCommand)
  const key = new BuildKey()
    .text(`boot ${guestImageVersion} ${kernel.release} ${script}`)
    .text(guestModules.join())
  for (const { path, content } of files) key.text(`${path} ${content}`)
  for (const file of [kernel.vmlinuz, busybox]) await key.file('input', file)
  return buildOnce('boot', key.value, async (directory) => {
    onProgress?.(`unpacking the Linux guest’s kernel ${kernel.release}`)
    writeFileSync(join(directory, 'vmlinux'), await unpackVmlinux(readFileSync(kernel.vmlinuz), abort))
    const modules = await kernelModules(kernel.modulesDirectory, guestModules, abort)
    writeFileSync(
      join(directory, 'initramfs.cpio'),
      initramfs({ busybox: readFileSync(busybox), modules, files, script }),
    )
  })
}

/** busybox, Python with its modules, and the Node that runs this: nothing that starts by itself. */
async function rootFileSystem(busybox: string, options: LinuxGuestOptions): Promise<string> {
  const { signal, onProgress } = options
  const abort = { signal }
  const python = await pythonPackages(options.packages, options)
  const node = process.execPath
  const key = new BuildKey().text(`root ${guestImageVersion}`).text(packageVersions(python))
  for (const file of [busybox, node]) await key.file('input', file)
  return buildOnce('guest', key.value, async (directory) => {
    onProgress?.('building the Linux guest’s root file system')
    const root = join(directory, 'root')
    for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'usr/bin'])
      mkdirSync(join(root, name), { recursive: true })
    await installBusybox(busybox, root, abort)
    await installPython(python, root, abort)
    copyFileSync(node, join(root, 'usr/bin/node'))
    copyLibraries(await sharedLibraries([node], abort), root)
    await ext4Image(root, join(directory, 'rootfs.ext4'), abort)
    await rm(root, { recursive: true })
  })
}
