import type { HugePageSetting } from './formats.js'

/** What a state file says of the machine that it was taken of. */
export interface VmInfo {
  /** Boot DRAM, without hotplug memory. */
  readonly memSizeMib: number
  readonly smt: boolean
  /** The static template's name, 'None' without one (or with a custom template). */
  readonly cpuTemplate: string
  readonly kernelPath: string
  readonly initrdPath: string | undefined
  readonly bootArgs: string | undefined
  readonly hugePages: HugePageSetting
}

/** KVM has some 250 capabilities. */
export const maxCapModifiers = 4096
