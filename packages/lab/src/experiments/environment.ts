import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { type FirecrackerBinary, formatFirecrackerVersion } from 'varve'
import { faultAroundBytes, faultAroundObstacle, hardwareVirtualisation } from 'varve/testing'
import type { Accelerator } from '../nested/accelerator.js'
import { whyNeverCold } from './cache-state.js'
import { diskFacts } from './disk-facts.js'

export interface LabKind {
  readonly kind: 'native' | 'nested'
  /** What makes the nested lab's processor. */
  readonly accelerator?: Accelerator
}

/** Values that change from minute to minute, so a change does not mean another environment. */
export const passing: ReadonlySet<string> = new Set(['load'])

/**
 * The environment that rows come from; rows of different environments are not mixed. `directory`: the place
 * of the files from which VMs are restored.
 */
export function describeEnvironment(
  binary: FirecrackerBinary,
  lab: LabKind,
  directory: string,
): Record<string, string> {
  return {
    lab: lab.kind,
    ...(lab.accelerator === undefined ? {} : { accelerator: lab.accelerator }),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: String(cpus().length),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    kvm: kvmKind(lab.accelerator),
    firecracker: formatFirecrackerVersion(binary.version),
    node: process.versions.node,
    varve: (createRequire(import.meta.url)('../../package.json') as { version: string }).version,
    ...diskFacts(directory),
    dropsCache: whyNeverCold(directory) === undefined ? 'yes' : 'no',
    faultAroundBytes: faultAround(),
    transparentHugePages:
      /\[(\w+)\]/.exec(read('/sys/kernel/mm/transparent_hugepage/enabled'))?.[1] ?? 'unknown',
    load: loadavg()[0]?.toFixed(2) ?? 'unknown',
  }
}

function faultAround(): string {
  const obstacle = faultAroundObstacle()
  return obstacle === undefined
    ? String(faultAroundBytes())
    : `${faultAroundBytes()}, assumed: ${obstacle.reason}`
}

/**
 * What runs guest code: a processor, a processor that another hypervisor shares, QEMU in place of one, or KVM
 * in software.
 */
export function kvmKind(accelerator: Accelerator | undefined, cpuinfo = read('/proc/cpuinfo')): string {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? ''
  const extension = /\bvmx\b/.test(flags) ? ' (VMX)' : /\bsvm\b/.test(flags) ? ' (SVM)' : ''
  if (accelerator === 'tcg') return `emulated by QEMU${extension}`
  if (!hardwareVirtualisation(cpuinfo)) return softwareKvm()
  return `${/\bhypervisor\b/.test(flags) ? 'nested' : 'hardware'}${extension}`
}

/** The module says which: kvm_pvm, say. */
function softwareKvm(): string {
  const name = /^(kvm_\w+) /m.exec(read('/proc/modules'))?.[1]
  return name === undefined ? 'software' : `software (${name})`
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
