import type { HugePageSetting } from './formats.js'

/** What a state file says of the machine that it was taken of. */
export interface VmInfo {
  /** Boot DRAM, without hotplug memory. */
  readonly memSizeMib: number
  /** Whether the guest sees its vCPUs as threads of shared cores. */
  readonly smt: boolean
  /** The static template's name, 'None' without one (or with a custom template). */
  readonly cpuTemplate: string
  /** Path of the kernel at boot. */
  readonly kernelPath: string
  /** Path of the initrd at boot; undefined if there was none. */
  readonly initrdPath: string | undefined
  /** The kernel's command line; undefined if none was given. */
  readonly bootArgs: string | undefined
  /** The size of the pages behind guest memory. */
  readonly hugePages: HugePageSetting
}

/** KVM has some 250 capabilities. */
export const maxCapModifiers = 4096
