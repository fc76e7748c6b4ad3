import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { hashFile, readSmallFile } from 'varve/testing'
import type { BuiltPart } from '../catalogue/guest-catalogue.js'
import type { GuestFilePart } from '../catalogue/guest-manifest.js'
import type { AptOptions } from '../tools/apt-packages.js'
import { busyboxBinary } from './busybox.js'
import { initramfs, startAgentScript, startImageInitScript } from './initramfs.js'
import { type KernelModule, kernelModules } from './kernel-modules.js'
import { kernelPackage } from './kernel-package.js'
import { unpackVmlinux } from './vmlinux.js'

/**
 * Of Debian's kernel, which has ext4 built in. Firecracker's devices are found by ACPI from version 1.8 on.
 * Those whose name ends in `?` are not in every kernel.
 */
export const guestModules = [
  'virtio_mmio',
  'virtio_blk',
  'virtio_net',
  'virtio-rng',
  'virtio_balloon',
  'vmw_vsock_virtio_transport',
  'virtio_mem?',
  'virtio_pmem?',
  'ext4',
] as const

/**
 * `i8042.*`: probing a keyboard and a mouse that Firecracker does not have waits for time-outs. The host's
 * CPU is trusted for entropy, as the host is for all else.
 */
export const guestBootArgs =
  'console=ttyS0 reboot=k panic=1 quiet random.trust_cpu=on net.ifnames=0 i8042.noaux i8042.nomux i8042.dumbkbd'

/** An unpacked distribution kernel is some 50 MB. */
const maxKernelBytes = 256 * 1024 * 1024

export interface BootFilesOptions extends AptOptions {
  /** A folder of the build's own. */
  readonly work: string
  /** A kernel (ELF, or a bzImage that holds one) in place of Debian's. It must need no modules to boot. */
  readonly kernel?: string | undefined
  /** The agent's program, to be started as init. Null: the disk's own init is started. */
  readonly agent: Uint8Array | null
}

interface BootFiles {
  readonly kernel: GuestFilePart & { readonly release: string | null }
  readonly initrd: GuestFilePart
  readonly parts: readonly BuiltPart[]
}

/** Makes the kernel and the first stage, which mounts the root disk and starts the init. */
export async function makeBootFiles(options: BootFilesOptions): Promise<BootFiles> {
  const { work, signal, onProgress, agent } = options
  const abort = { signal }
  const busybox = readFileSync(await busyboxBinary(options))
  let release: string | null = null
  let modules: readonly KernelModule[] = []
  let image: Buffer
  if (options.kernel === undefined) {
    const debian = await kernelPackage(options)
    release = debian.release
    onProgress?.(`unpacking the kernel ${release}`)
    image = readFileSync(debian.vmlinuz)
    modules = await kernelModules(debian.modulesDirectory, guestModules, abort)
  } else image = readSmallFile(options.kernel, maxKernelBytes)
  const files = {
    kernel: join(work, 'vmlinux'),
    initrd: join(work, 'initrd'),
  }
  writeFileSync(files.kernel, await elfKernel(image, options), { mode: 0o600, flag: 'wx' })
  const start =
    agent === null
      ? { script: startImageInitScript }
      : {
          files: [{ path: 'varve/agent', content: agent, executable: true }],
          script: startAgentScript,
        }
  writeFileSync(files.initrd, initramfs({ busybox, modules, ...start }), { mode: 0o600, flag: 'wx' })
  const kernel = await hashFile(files.kernel, abort)
  const initrd = await hashFile(files.initrd, abort)
  return {
    kernel: { digest: kernel.digest, sizeBytes: kernel.size, release },
    initrd: { digest: initrd.digest, sizeBytes: initrd.size },
    parts: [
      { path: files.kernel, digest: kernel.digest },
      { path: files.initrd, digest: initrd.digest },
    ],
  }
}

async function elfKernel(image: Buffer, { kernel, signal }: BootFilesOptions): Promise<Buffer> {
  if (image.toString('latin1', 0, 4) === '\x7fELF') return image
  return unpackVmlinux(image, { signal }).catch((cause: unknown) => {
    if (!(cause instanceof VarveError) || cause.code !== 'FORMAT_INVALID') throw cause
    throw new VarveError('FORMAT_INVALID', `the kernel ${kernel ?? ''} is neither ELF nor bzImage`, { cause })
  })
}
