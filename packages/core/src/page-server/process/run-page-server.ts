import { writeSync } from 'node:fs'
import type { PageServerOrder } from './orders.js'
import { PageServerProcess } from './page-server.js'

/** Makes this process one that is, or can become, a page server. */
export function runPageServer(order: PageServerOrder): PageServerProcess {
  // Whatever goes wrong outside of a single VM, this process must end: VMs would wait for
  // ever for one that lives on lame.
  process.on('uncaughtException', fail)
  // All that is made here, the sockets above all, is for the owner alone. A chmod afterwards could be led
  // astray by a link that a jailed VMM puts in a socket's place.
  process.umask(0o177)
  const server = new PageServerProcess({
    ...order,
    // process.exit would hang while the fault thread sleeps in poll.
    onEnd: () => void server.stop().finally(() => process.exit()),
    onFailure: fail,
  })
  return server
}

function fail(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  writeSync(2, `page server: ${text}\n`)
  // At once, and whatever the fault thread is doing: who guards the VMs takes it from here.
  process.kill(process.pid, 'SIGKILL')
}
