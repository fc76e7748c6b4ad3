import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive, type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { askPageServer } from '../protocol/ask-page-server.js'
import type { ServingProcesses } from '../protocol/control.js'
import { pageServerRoot } from '../protocol/page-server-files.js'
import { listServedVms } from '../protocol/served-vms.js'
import { lockServer } from './lock-server.js'
import { hasSuccessor } from './successor.js'

/**
 * A successor that stands by takes the lock within milliseconds. One that does not within this time loses its
 * turn: a VM must not wait for a process that was stopped.
 */
const successorTurnMs = 3000
const firstLookMs = 2
const slowestLookMs = 100
/**
 * A living server answers within milliseconds. While a guard waits for an answer, it does not look at the
 * lock.
 */
const answerMs = 500

/**
 * For the guard of a server that has ended: true as soon as this process must serve the VMs (it then holds
 * the server's lock), false once another process has that duty. It is not enough that a successor was named
 * or holds the lock: the successor may die in the next moment, and this guard may be the only process left
 * that watches. The duty ends when no VM is left, or when a server with a living guard answers.
 */
export async function takeTurn(runtime: string): Promise<boolean> {
  const { vms, control, successor } = pageServerRoot(runtime)
  const begin = performance.now()
  for (let lookMs = firstLookMs; ; lookMs = Math.min(lookMs * 1.2, slowestLookMs)) {
    if (listServedVms(vms).length === 0) return false
    const itsTurn = hasSuccessor(successor) && performance.now() - begin < successorTurnMs
    if (!itsTurn && lockServer(runtime)) return true
    if (await isServed(control)) return false
    await sleep(lookMs)
  }
}

async function isServed(control: string): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(answerMs)
    const { server, guard } = (await askPageServer(
      control,
      { op: 'processes' },
      { signal },
    )) as ServingProcesses
    return isAlive(server) && guard !== null && !isThis(guard) && isAlive(guard)
  } catch {
    // None answers yet.
    return false
  }
}

const isThis = (it: ProcessIdentity) =>
  processIdentity(process.pid)?.startTime === it.startTime && it.pid === process.pid
