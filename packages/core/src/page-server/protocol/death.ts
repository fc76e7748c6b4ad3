import { closeSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openPidfd, signalPidfd } from '../../sys/pidfd.js'
import { pageServerFiles } from './page-server-files.js'
import type { ServedVmEntry } from './served-vms.js'

/**
 * Ends a VM whose pages cannot come any more, and leaves the reason where holders of the machine look for it.
 */
export function killServedVm(directory: string, pidfd: number, detail: string): void {
  // The writer may itself be killed in between: a half-written file stays among the page server's own files.
  const draft = join(pageServerFiles(directory).own, 'death.json')
  try {
    const note = { reason: 'page-server-died', detail, at: new Date().toISOString() }
    writeFileSync(draft, JSON.stringify(note), { mode: 0o600 })
    renameSync(draft, join(directory, 'death.json'))
  } catch (error) {
    process.stderr.write(`page server: no note of a VM's death: ${(error as Error).message}\n`)
  } finally {
    // Whatever becomes of the note, the VM must not hang.
    signalPidfd(pidfd, 'SIGKILL')
    // No process answers there any more.
    rmSync(pageServerFiles(directory).control, { force: true })
  }
}

/** The same for a VM that no server has; nothing if it has ended. */
export function killUnserved({ vmm, directory }: ServedVmEntry, detail: string): void {
  const pidfd = openPidfd(vmm)
  if (pidfd === undefined) return
  try {
    killServedVm(directory, pidfd, detail)
  } finally {
    closeSync(pidfd)
  }
}
