import { join } from 'node:path'
import { guestBootArgs } from '@varve/guest/testing'

/** The files that make a Linux guest for Firecracker. */
export interface LinuxGuest {
  /** Uncompressed ELF kernel. */
  readonly kernel: string
  readonly initrd: string
  /**
   * ext4 with busybox and Python 3, to be attached read-only as root disk; all guests of a host share it. A
   * capture of a booted machine copies it.
   */
  readonly rootDisk: string
  /** As `rootDisk`, larger: also with numpy, PIL, Node and the Debian packages that were asked for. */
  readonly functionsDisk: string
  readonly bootArgs: string
}

/** No mitigations because an emulated guest spends seconds on them. */
export const labBootArgs = `${guestBootArgs} mitigations=off`

/** Where the files lie in the nested lab. */
export function linuxGuestIn(directory: string): LinuxGuest {
  return {
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initrd'),
    rootDisk: join(directory, 'rootfs.ext4'),
    functionsDisk: join(directory, 'functions.ext4'),
    bootArgs: labBootArgs,
  }
}
