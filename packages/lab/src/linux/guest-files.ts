import { join } from 'node:path'
import { guestBootArgs } from '@varve/guest/testing'

/** The files that make a Linux guest for Firecracker. */
export interface LinuxGuest {
  /** Uncompressed ELF kernel. */
  readonly kernel: string
  readonly initrd: string
  /** ext4, to be attached read-only as root disk; all guests of a host share it. */
  readonly rootDisk: string
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
    bootArgs: labBootArgs,
  }
}
