import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { labCacheDirectory } from '@varve/guest/testing'

/** How QEMU runs the lab: by the host's KVM, or by emulation (slower by an order of magnitude). */
export type Accelerator = 'kvm' | 'tcg'

/**
 * Whether this host says that its KVM can be nested. Not proof: the lab still has to come up with it. kvm-pvm
 * (software KVM) has neither module parameter.
 */
export function claimsNesting(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch {
    return false
  }
  if (recall()?.nestingFailed === true) return false
  return ['kvm_intel', 'kvm_amd'].some((module) => {
    const parameter = `/sys/module/${module}/parameters/nested`
    return existsSync(parameter) && /^[Y1]/.test(readFileSync(parameter, 'utf8'))
  })
}

interface Memory {
  readonly boot: string
  readonly nestingFailed: boolean
}

const memoryPath = () => join(labCacheDirectory(), 'nesting.json')
const bootId = () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/**
 * Remembers, until the next boot, that a lab did not come up by KVM: finding that
 * out costs the whole time limit.
 */
export function rememberNestingFailed(): void {
  const memory: Memory = { boot: bootId(), nestingFailed: true }
  writeFileSync(memoryPath(), JSON.stringify(memory), { mode: 0o600 })
}

function recall(): Memory | undefined {
  try {
    const memory = JSON.parse(readFileSync(memoryPath(), 'utf8')) as Memory
    return memory.boot === bootId() ? memory : undefined
  } catch {
    return undefined
  }
}

/** CPU models with virtualisation: AMD's in emulation, which is the only one that QEMU emulates. */
export function acceleratorArguments(accelerator: Accelerator): string[] {
  return accelerator === 'kvm'
    ? ['-accel', 'kvm', '-cpu', 'host']
    : ['-accel', 'tcg,thread=multi', '-cpu', 'max,+svm']
}
