import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProcessIdentity } from '../../sys/proc.js'

/** One VM that depends on the page server, as its file in `vms` says. */
export interface ServedVmEntry {
  readonly vmm: ProcessIdentity
  /** The VM's directory. */
  readonly directory: string
}

/**
 * The list of the VMs that depend on a page server, kept as files: who comes after the server must know
 * them whatever the server did last. An entry exists before the VM is served, and until the VM has
 * ended or needs no server any more.
 */
export function addServedVm(vms: string, { vmm, directory }: ServedVmEntry): void {
  const path = join(vms, nameOf(vmm))
  const draft = `${path}.new`
  writeFileSync(draft, JSON.stringify({ vmm: { pid: vmm.pid, startTime: vmm.startTime }, directory }), {
    mode: 0o600,
  })
  renameSync(draft, path)
}

export function removeServedVm(vms: string, vmm: ProcessIdentity): void {
  rmSync(join(vms, nameOf(vmm)), { force: true })
}

/** A file that is not an entry is passed over: it names no VM. */
export function listServedVms(vms: string): ServedVmEntry[] {
  let names: string[]
  try {
    names = readdirSync(vms)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  return names.filter((name) => name.endsWith('.json')).flatMap((name) => readEntry(join(vms, name)))
}

const nameOf = ({ pid, startTime }: ProcessIdentity) => `${pid}-${startTime}.json`

function readEntry(path: string): ServedVmEntry[] {
  try {
    const { vmm, directory } = JSON.parse(readFileSync(path, 'utf8')) as Partial<ServedVmEntry>
    const known = Number.isSafeInteger(vmm?.pid) && Number.isSafeInteger(vmm?.startTime)
    return known && vmm !== undefined && typeof directory === 'string' ? [{ vmm, directory }] : []
  } catch {
    return []
  }
}
