import { sayWord } from '../../helper/say-word.js'
import { openPidfd } from '../../sys/pidfd.js'
import { Poller } from '../../sys/poll.js'
import { pageServerRoot } from '../protocol/page-server-files.js'
import { findServedVms } from '../vm/find-served-vms.js'
import type { GuardOrder } from './orders.js'
import { holdOwnProgram, leaveOwnProgram } from './program-copy.js'
import { dieTooOften } from './recent-deaths.js'
import { runPageServer } from './run-page-server.js'
import { takeTurn } from './take-turn.js'

/**
 * Until then the guard has nothing but its eyes open: what starts at the same time, the first
 * restore above all, has the CPUs.
 */
const restMs = 1000

holdOwnProgram()

// Ctrl-C in the terminal is for the owner; VMs must not lose their guard by it.
process.on('SIGINT', () => {})

const { server, ...order } = JSON.parse(process.argv[2] ?? '') as GuardOrder
const { deaths } = pageServerRoot(order.runtime)
const serverFd = openPidfd(server)
sayWord('watching')
// A process with nothing else to do: it may sleep in poll, and no event loop stands in its way.
const poller = serverFd === undefined ? undefined : new Poller([serverFd])
const isDead = (waitMs: number) => poller === undefined || poller.wait(waitMs) > 0

const early = isDead(restMs)
const ready = early ? undefined : runPageServer(order)
await ready?.ready()
if (!early) isDead(-1)
// A server that ends without a failure has no VM any more, or has left its VMs to another server.
if (await takeTurn(order.runtime)) {
  const found = findServedVms(order.runtime, { before: server, tooOften: dieTooOften(deaths) })
  await (ready ?? runPageServer(order)).open({ found, before: server })
} else {
  await ready?.stop()
  leaveOwnProgram()
  process.exit()
}
