import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { agentProgram } from '@varve/guest'
import {
  type AptOptions,
  BuildKey,
  buildOnce,
  busyboxBinary,
  guestModules,
  initramfs,
  installBusybox,
  kernelModules,
  kernelPackage,
  packageVersions,
  startAgentScript,
  unpackVmlinux,
  writeFolderDisk,
} from '@varve/guest/testing'
import { type LinuxGuest, labBootArgs } from './guest-files.js'
import { installPython, pythonPackages } from './python.js'
import { copyLibraries, sharedLibraries } from './shared-libraries.js'

export interface LinuxGuestOptions extends AptOptions {
  /** Debian packages of Python modules, beyond numpy and PIL, for `functionsDisk`. */
  readonly packages?: readonly string[]
  /**
   * An ext4 image of your own in place of both, with the folders dev, proc, run, sys and tmp; it is mounted
   * read-only. The lab's functions need `python3` (3.9 or later) or `node` in it.
   */
  readonly rootfs?: string
}

/** Changes of what is built below, other than of its inputs, count this up. */
const guestImageVersion = 6

/**
 * Builds (or finds in the cache) the guest: Debian's kernel for VMs, a first stage with the agent, and two
 * root file systems.
 */
export async function linuxGuest(options: LinuxGuestOptions = {}): Promise<LinuxGuest> {
  const boot = await bootFiles(options)
  const disk = async (of: RootKind) =>
    options.rootfs ?? join(await rootFileSystem(of, options), 'rootfs.ext4')
  return {
    kernel: join(boot, 'vmlinux'),
    initrd: join(boot, 'initrd'),
    rootDisk: await disk('plain'),
    functionsDisk: await disk('functions'),
    bootArgs: labBootArgs,
  }
}

async function bootFiles(options: LinuxGuestOptions): Promise<string> {
  const { signal, onProgress } = options
  const kernel = await kernelPackage(options)
  const initrd = initramfs({
    busybox: readFileSync(await busyboxBinary(options)),
    modules: await kernelModules(kernel.modulesDirectory, guestModules, { signal }),
    files: [{ path: 'varve/agent', content: await agentProgram(), executable: true }],
    script: startAgentScript,
  })
  const digest = createHash('sha256').update(initrd).digest('hex')
  const key = await new BuildKey().text(`boot ${digest}`).file('kernel', kernel.vmlinuz)
  return buildOnce('boot', key.value, async (directory) => {
    onProgress?.(`unpacking the Linux guest’s kernel ${kernel.release}`)
    writeFileSync(join(directory, 'vmlinux'), await unpackVmlinux(readFileSync(kernel.vmlinuz), { signal }))
    writeFileSync(join(directory, 'initrd'), initrd)
  })
}

/**
 * What `exec` looks up, and what fix-ups change: on a root that is read-only, the agent covers
 * /etc/machine-id by a file in memory, and anything may be mounted over /etc/varve.
 */
const etc = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\n',
  group: 'root:x:0:\n',
  'machine-id': '',
} as const

type RootKind = 'plain' | 'functions'

/**
 * busybox and Python; for functions also Python's modules, and the Node that runs this. Nothing starts by
 * itself.
 */
async function rootFileSystem(kind: RootKind, options: LinuxGuestOptions): Promise<string> {
  const { signal, onProgress } = options
  const abort = { signal }
  const busybox = await busyboxBinary(options)
  const python = await pythonPackages(options.packages, options)
  const node = kind === 'functions' ? process.execPath : undefined
  const key = new BuildKey()
    .text(`root ${guestImageVersion} ${kind}`)
    .text(JSON.stringify(etc))
    .text(packageVersions(python))
  await key.file('input', busybox)
  if (node !== undefined) await key.file('input', node)
  return buildOnce(`guest-${kind}`, key.value, async (directory) => {
    onProgress?.(`building the Linux guest’s root file system (${kind})`)
    const root = join(directory, 'root')
    for (const name of ['bin', 'dev', 'etc/varve', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/bin'])
      mkdirSync(join(root, name), { recursive: true })
    for (const [name, content] of Object.entries(etc)) writeFileSync(join(root, 'etc', name), content)
    await installBusybox(busybox, root, abort)
    await installPython(python, root, { ...abort, modules: kind === 'functions' })
    if (node !== undefined) {
      copyFileSync(node, join(root, 'usr/bin/node'))
      copyLibraries(await sharedLibraries([node], abort), root)
    }
    await writeFolderDisk(root, join(directory, 'rootfs.ext4'), { ...abort, roomBytes: 0 })
    await rm(root, { recursive: true })
  })
}
