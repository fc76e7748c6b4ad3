import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { agentPort, agentScript } from './agent.js'
import {
  type AptOptions,
  packageVersions,
  unpackedPackages,
  withMissingDependencies,
} from './apt-packages.js'
import { BuildKey, buildOnce } from './build-cache.js'
import { busyboxBinary, installBusybox } from './busybox.js'
import { ext4Image } from './ext4-image.js'
import { type LinuxGuest, linuxGuestIn } from './guest-files.js'
import { initramfs, switchRootScript } from './initramfs.js'
import { kernelModules } from './kernel-modules.js'
import { kernelPackage } from './kernel-package.js'
import { installPython, pythonPackages } from './python.js'
import { copyLibraries, sharedLibraries } from './shared-libraries.js'
import { unpackVmlinux } from './vmlinux.js'

/** virtio-mmio devices are found by ACPI from Firecracker 1.8 on; kernels that build them in have less to insert. */
const guestModules = ['virtio_mmio', 'virtio_blk', 'virtio-rng', 'vmw_vsock_virtio_transport'] as const

/** Changes of what is built below, other than of its inputs, count this up. */
const guestImageVersion = 2

/** Builds (or finds in the cache) the guest: Debian's kernel for VMs, busybox, Python, and the agent behind socat on vsock. */
export async function linuxGuest(options: AptOptions = {}): Promise<LinuxGuest> {
  const { signal, onProgress } = options
  const abort = signal === undefined ? {} : { signal }
  const kernel = await kernelPackage(options)
  const busybox = await busyboxBinary(options)
  const socatTree = await unpackedPackages(
    'socat',
    () => withMissingDependencies(['socat'], options),
    options,
  )
  const socat = join(socatTree, 'usr/bin/socat')
  const python = await pythonPackages(options)
  const key = new BuildKey()
    .text(`guest ${guestImageVersion} ${kernel.release} ${agentScript} ${rcScript}`)
    .text(packageVersions(python))
  for (const file of [kernel.vmlinuz, busybox, socat]) await key.file('input', file)
  const built = await buildOnce('guest', key.value, async (directory) => {
    onProgress?.(`building the Linux guest (kernel ${kernel.release})`)
    const files = linuxGuestIn(directory)
    writeFileSync(files.kernel, await unpackVmlinux(readFileSync(kernel.vmlinuz), abort))
    writeFileSync(
      files.initrd,
      initramfs({
        busybox: readFileSync(busybox),
        modules: await kernelModules(kernel.modulesDirectory, guestModules, abort),
        script: switchRootScript('/dev/vda', 'ro'),
      }),
    )
    const root = join(directory, 'root')
    for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'usr/bin'])
      mkdirSync(join(root, name), { recursive: true })
    await installBusybox(busybox, root, abort)
    copyFileSync(socat, join(root, 'bin/socat'))
    copyLibraries(await sharedLibraries([socat], { unpacked: socatTree, ...abort }), root)
    await installPython(python, root, abort)
    executable(join(root, 'bin/agent'), agentScript)
    executable(join(root, 'etc/rc'), rcScript)
    writeFileSync(join(root, 'etc/inittab'), inittab)
    mkdirSync(join(root, 'sbin'))
    symlinkSync('/bin/busybox', join(root, 'sbin/init'))
    await ext4Image(root, files.rootDisk, abort)
    await rm(root, { recursive: true })
  })
  return linuxGuestIn(built)
}

const rcScript = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir /run/functions
ifconfig lo 127.0.0.1 up
`

const inittab = `::sysinit:/etc/rc
::respawn:/bin/socat VSOCK-LISTEN:${agentPort},fork,reuseaddr EXEC:/bin/agent
`

function executable(path: string, text: string): void {
  writeFileSync(path, text)
  chmodSync(path, 0o755)
}
