import { join } from 'node:path'

/** The files that make a Linux guest for Firecracker. */
export interface LinuxGuest {
  /** Uncompressed ELF kernel. */
  readonly kernel: string
  readonly initrd: string
  /** ext4, to be attached read-only as root disk; all guests of a host share it. */
  readonly rootDisk: string
  readonly bootArgs: string
}

/**
 * `quiet` and no mitigations because an emulated guest spends seconds on both; `i8042.*` because probing a
 * keyboard and mouse that Firecracker does not have waits for time-outs.
 */
export const guestBootArgs =
  'console=ttyS0 reboot=k panic=1 quiet mitigations=off random.trust_cpu=on i8042.noaux i8042.nomux i8042.dumbkbd'

/** Where the files lie in the nested lab. */
export function linuxGuestIn(directory: string): LinuxGuest {
  return {
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initramfs.cpio'),
    rootDisk: join(directory, 'rootfs.ext4'),
    bootArgs: guestBootArgs,
  }
}
