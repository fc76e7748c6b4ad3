import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openPidfd, signalPidfd } from '../../sys/pidfd.js'
import { Poller } from '../../sys/poll.js'
import type { ProcessIdentity } from '../../sys/proc.js'
import { pageServerFiles } from './page-server-files.js'
import { readLogStart } from './read-log.js'

/** What the guard watches, as JSON in its first argument. */
export interface GuardOrder {
  readonly server: ProcessIdentity
  readonly vmm: ProcessIdentity
  /** The VM's directory, where the reason of its death is written. */
  readonly directory: string
}

// Ctrl-C in the terminal is for the owner; a VM must not lose its guard by it.
process.on('SIGINT', () => {})

const { server, vmm, directory } = JSON.parse(process.argv[2] ?? '') as GuardOrder
const vmmFd = openPidfd(vmm)
if (vmmFd !== undefined) {
  const serverFd = openPidfd(server)
  process.stdout.write('watching\n')
  // A process of its own with nothing else to do: it may sleep in poll, and no event loop stands in its way.
  if (serverFd === undefined || serverDiedFirst(serverFd, vmmFd)) kill(vmmFd)
}

function serverDiedFirst(serverFd: number, vmFd: number): boolean {
  const poller = new Poller([vmFd, serverFd])
  poller.wait(-1)
  return !poller.readable(0)
}

function kill(vmFd: number): void {
  // A guard may itself be killed in between: what is half written stays among the page server's own files.
  const draft = join(pageServerFiles(directory).own, 'death.json')
  try {
    const detail = `process ${server.pid} ended while the VM depended on it; the VM was killed${lastWords()}`
    writeFileSync(
      draft,
      JSON.stringify({ reason: 'page-server-died', detail, at: new Date().toISOString() }),
      { mode: 0o600 },
    )
    renameSync(draft, join(directory, 'death.json'))
  } finally {
    // Whatever becomes of the note, the VM must not hang.
    signalPidfd(vmFd, 'SIGKILL')
  }
}

/** What the server itself gave as its reason, if it came to that. */
function lastWords(): string {
  try {
    const log = readLogStart(pageServerFiles(directory).serverLog)
    const words = /^page server: (.*)$/m.exec(log)?.[1]
    return words === undefined ? '' : `: ${words.slice(0, 1000)}`
  } catch {
    return ''
  }
}
