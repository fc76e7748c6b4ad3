import { dirname } from 'node:path'
import { type CpioEntry, cpioArchive } from '../tools/cpio.js'
import type { KernelModule } from './kernel-modules.js'

export interface InitramfsOptions {
  /** A static busybox. */
  readonly busybox: Buffer
  /** In the order of insertion. A KVM module that does not fit the machine is passed over. */
  readonly modules: readonly KernelModule[]
  /** More files; their folders are made. */
  readonly files?: readonly {
    readonly path: string
    readonly content: string | Uint8Array
    readonly executable?: boolean
  }[]
  /** Shell commands that end in `exec switch_root`; /proc, /sys and /dev are mounted. */
  readonly script: string
}

/** A first stage: busybox inserts modules, then the script finds the root file system and switches to it. */
export function initramfs({ busybox, modules, files = [], script }: InitramfsOptions): Buffer {
  const init = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
${modules.map(({ name }) => insertion(name)).join('\n')}
${script}
`
  const entries: CpioEntry[] = [
    ...[
      'bin',
      'dev',
      'modules',
      'proc',
      'sys',
      'root',
      ...new Set(files.map(({ path }) => dirname(path))),
    ].map((path): CpioEntry => ({ path, kind: 'directory' })),
    // The kernel opens /dev/console for init before devtmpfs is mounted.
    { path: 'dev/console', kind: 'device', major: 5, minor: 1 },
    { path: 'bin/busybox', kind: 'file', content: busybox, executable: true },
    { path: 'init', kind: 'file', content: Buffer.from(init), executable: true },
    ...modules.map(({ name, content }): CpioEntry => ({ path: `modules/${name}.ko`, kind: 'file', content })),
    ...files.map(
      ({ path, content, executable = false }): CpioEntry => ({
        path,
        kind: 'file',
        content: Buffer.from(content as string),
        executable,
      }),
    ),
  ]
  return cpioArchive(entries)
}

/** The wrong one would say so on the console, where it looks like the cause of whatever goes wrong next. */
const cpuFlags: Readonly<Record<string, string>> = { kvm_amd: 'svm', kvm_intel: 'vmx' }

function insertion(name: string): string {
  const insert = `/bin/busybox insmod /modules/${name}.ko`
  const flag = cpuFlags[name]
  return flag === undefined ? insert : `/bin/busybox grep -qw ${flag} /proc/cpuinfo && ${insert}`
}

/**
 * Waits up to ten seconds for a disk that the kernel finds in its own time, then mounts it on /root. A disk
 * that is read-only, say because machines share it, is mounted `ro` whatever the options.
 */
const mountRoot = (options: 'ro' | 'rw') => `tries=0
until [ -b /dev/vda ]; do
  tries=$((tries + 1))
  [ $tries -gt 1000 ] && echo 'no /dev/vda' && break
  /bin/busybox usleep 10000
done
mode=${options}
/bin/busybox grep -q 1 /sys/block/vda/ro && mode=ro
/bin/busybox mount -t ext4 -o $mode /dev/vda /root`

/** Goes to the root file system's own init. */
export const switchRootScript = `${mountRoot('ro')}
exec /bin/busybox switch_root /root /sbin/init`

/**
 * In the running guest. It is in memory, so an image needs neither room nor a folder for the agent.
 */
const agentPath = '/run/varve/agent'

/** Goes to the agent as process 1, which the first stage has as /varve/agent. */
export const startAgentScript = `${mountRoot('rw')}
/bin/busybox mount -t tmpfs -o mode=755 tmpfs /root/run
/bin/busybox mkdir /root/run/varve
/bin/busybox cp /varve/agent /root${agentPath}
exec /bin/busybox switch_root /root ${agentPath} --init`

/**
 * Goes to the image's own init, which starts the agent. It gets what is mounted here, as from other initrds:
 * not every init mounts these itself.
 */
export const startImageInitScript = `${mountRoot('rw')}
for it in dev proc sys; do /bin/busybox mount -o move /$it /root/$it; done
exec /bin/busybox switch_root /root /sbin/init`
