import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type AptOptions,
  BuildKey,
  buildOnce,
  busyboxBinary,
  initramfs,
  installBusybox,
  kernelModules,
  kernelPackage,
  switchRootScript,
  writeFolderDisk,
} from '@varve/guest/testing'
import { type FirecrackerBinary, findFirecracker } from 'varve'
import { linuxGuestIn } from '../linux/guest-files.js'
import { type LinuxGuestOptions, linuxGuest } from '../linux/guest-image.js'
import { sharedLibraries } from '../linux/shared-libraries.js'
import { labPaths, runnerPath } from './lab-paths.js'

/** The files that QEMU boots. */
export interface HostImage {
  /**
   * Unpacked, the guests' own: QEMU boots it by its PVH entry, which spares the emulated machine from
   * unpacking a bzImage (a second).
   */
  readonly kernel: string
  readonly initrd: string
  /** ext4 with Node, Firecracker and the Linux guest; read-only, shared by all labs. */
  readonly rootDisk: string
}

export interface HostImageOptions extends AptOptions {
  /** Default: `findFirecracker()`. */
  readonly firecracker?: FirecrackerBinary
  /** What guests inside find: `guestInLab`. */
  readonly guest?: Pick<LinuxGuestOptions, 'packages' | 'rootfs'>
}

/** One of the two KVMs fits. tun is for guests with a network. */
const hostModules = [
  'kvm-amd',
  'kvm-intel',
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'virtio-rng',
  'tun?',
] as const

/** Changes of what is built below, other than of its inputs, count this up. */
const hostImageVersion = 2

/** Builds (or finds in the cache) the lab's host system. */
export async function hostImage(options: HostImageOptions = {}): Promise<HostImage> {
  const { signal, onProgress } = options
  const abort = { signal }
  const kernel = await kernelPackage(options)
  const busybox = await busyboxBinary(options)
  const guest = await linuxGuest({ ...options, ...options.guest })
  const { firecracker: given, ...finding } = options
  const firecracker = given ?? (await findFirecracker(finding))
  const node = { source: process.execPath, target: '/usr/bin/node' }
  const guestInside = linuxGuestIn(labPaths.guest)
  const files = [
    node,
    ...(await sharedLibraries([node.source], abort)),
    { source: firecracker.path, target: labPaths.firecracker },
    ...(firecracker.jailerPath === undefined
      ? []
      : [{ source: firecracker.jailerPath, target: labPaths.jailer }]),
    ...(['kernel', 'initrd', 'rootDisk', 'functionsDisk'] as const).map((it) => ({
      source: guest[it],
      target: guestInside[it],
    })),
  ]
  const key = new BuildKey().text(`host ${hostImageVersion} ${kernel.release} ${rcScript} ${inittab}`)
  for (const { source, target } of [...files, { source: busybox, target: 'busybox' }])
    await key.file(target, source)
  const directory = await buildOnce('host', key.value, async (work) => {
    onProgress?.('building the lab’s host image')
    const root = join(work, 'root')
    for (const name of [
      'bin',
      'dev',
      'etc',
      'proc',
      'root',
      'run',
      'scratch',
      'sbin',
      'sys',
      'tmp',
      'usr',
      'var',
      'varve',
    ])
      mkdirSync(join(root, name), { recursive: true })
    await installBusybox(busybox, root, abort)
    symlinkSync('/bin/busybox', join(root, 'sbin/init'))
    for (const { source, target } of files) {
      mkdirSync(dirname(join(root, target)), { recursive: true })
      copyFileSync(source, join(root, target))
    }
    writeFileSync(join(root, 'etc/rc'), rcScript)
    chmodSync(join(root, 'etc/rc'), 0o755)
    writeFileSync(join(root, 'etc/inittab'), inittab)
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/scratch:/bin/sh\n')
    await writeFolderDisk(root, join(work, 'root.ext4'), { ...abort, roomBytes: 0 })
    await rm(root, { recursive: true })
    writeFileSync(
      join(work, 'initramfs.cpio'),
      initramfs({
        busybox: readFileSync(busybox),
        modules: await kernelModules(kernel.modulesDirectory, hostModules, abort),
        script: switchRootScript,
      }),
    )
  })
  return {
    kernel: guest.kernel,
    initrd: join(directory, 'initramfs.cpio'),
    rootDisk: join(directory, 'root.ext4'),
  }
}

/** Disks in the order in which QEMU is given them: root, project, scratch. */
const rcScript = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t ext4 -o ro /dev/vdb ${labPaths.project}
mount -t ext4 -o rw /dev/vdc ${labPaths.scratch}
ifconfig lo 127.0.0.1 up
hostname lab
`

const inittab = `::sysinit:/etc/rc
::wait:/usr/bin/node ${runnerPath}
::wait:/bin/poweroff -f
`
