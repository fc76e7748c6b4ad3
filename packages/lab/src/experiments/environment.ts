import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, release, totalmem } from 'node:os'
import { type FirecrackerBinary, formatFirecrackerVersion, hardwareVirtualisation } from 'varve'
import type { Accelerator } from '../nested/accelerator.js'

export interface LabKind {
  readonly kind: 'native' | 'nested'
  /** What makes the nested lab's processor. */
  readonly accelerator?: Accelerator
}

/** Where rows come from; rows from different environments are not mixed. */
export function describeEnvironment(binary: FirecrackerBinary, lab: LabKind): Record<string, string> {
  return {
    lab: lab.kind,
    ...(lab.accelerator === undefined ? {} : { accelerator: lab.accelerator }),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: String(cpus().length),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    kvm: hardwareVirtualisation() ? 'hardware' : softwareKvm(),
    firecracker: formatFirecrackerVersion(binary.version),
    node: process.versions.node,
    varve: (createRequire(import.meta.url)('../../package.json') as { version: string }).version,
  }
}

/** The module says which: kvm_pvm, say. */
function softwareKvm(): string {
  try {
    const name = /^(kvm_\w+) /m.exec(readFileSync('/proc/modules', 'latin1'))?.[1]
    return name === undefined ? 'software' : `software (${name})`
  } catch {
    return 'software'
  }
}
