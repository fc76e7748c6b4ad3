import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { signalPidfd } from '../../sys/pidfd.js'
import { pageServerFiles } from './page-server-files.js'

/** Ends a VM whose pages cannot come any more, and leaves the reason where whoever holds the machine looks for it. */
export function killServedVm(directory: string, pidfd: number, detail: string): void {
  // Whoever writes may itself be killed in between: what is half written stays among the page server's own files.
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
  }
}
