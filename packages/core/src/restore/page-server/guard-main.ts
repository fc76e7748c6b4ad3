import { closeSync } from 'node:fs'
import { openPidfd } from '../../sys/pidfd.js'
import { Poller } from '../../sys/poll.js'
import type { ProcessIdentity } from '../../sys/proc.js'
import { killServedVm } from './death.js'
import { pageServerRoot } from './page-server-files.js'
import { listServedVms } from './served-vms.js'

/** What the guard watches, as JSON in its first argument. */
export interface GuardOrder {
  readonly server: ProcessIdentity
  /** The runtime directory whose VMs the server serves. */
  readonly runtime: string
}

// Ctrl-C in the terminal is for the owner; VMs must not lose their guard by it.
process.on('SIGINT', () => {})

const { server, runtime } = JSON.parse(process.argv[2] ?? '') as GuardOrder
const serverFd = openPidfd(server)
process.stdout.write('watching\n')
// A process of its own with nothing else to do: it may sleep in poll, and no event loop stands in its way.
if (serverFd !== undefined) new Poller([serverFd]).wait(-1)

// A server that ends in good order serves nobody.
for (const { vmm, directory } of listServedVms(pageServerRoot(runtime).vms)) {
  const pidfd = openPidfd(vmm)
  if (pidfd === undefined) continue
  killServedVm(directory, pidfd, `process ${server.pid} ended while the VM depended on it; the VM was killed`)
  closeSync(pidfd)
}
