import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { handOverPageServer, listMachines, type ProcessIdentity } from 'varve'
import { askPageServer, isAlive, isGone, killProcess, pageServerRoot, tryLock } from 'varve/testing'
import type { Action, ActionWorker, Outcome } from '../action.js'
import type { Kill } from '../ledger.js'
import { processesOf } from '../processes.js'
import { restoreBy } from './restore-actions.js'

/**
 * A guard is started at most once a second, and the VMs of a server whose guard died with it stand still
 * (docs/formats).
 */
const serverRestMs = 3000
/** Pause between kills, so that the workers also make progress. */
const workerRestMs = 4000

/** Runs `work` if no other worker is killing, and the last kill of this kind is long enough ago. */
async function inTurn(
  worker: ActionWorker,
  kind: 'server' | 'worker',
  restMs: number,
  work: () => Promise<Outcome>,
): Promise<Outcome> {
  await using turn = await tryLock(worker.run.killLock)
  if (turn === undefined) return { skipped: 'another worker kills' }
  const path = worker.run.killTimes
  const times = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, number>) : {}
  if (Date.now() - (times[kind] ?? 0) < restMs) return { skipped: 'too soon' }
  try {
    return await work()
  } finally {
    writeFileSync(path, JSON.stringify({ ...times, [kind]: Date.now() }))
  }
}

function kill(
  worker: ActionWorker,
  what: Kill['what'],
  { pid, startTime }: ProcessIdentity,
  more: Pick<Kill, 'owner' | 'vm'> = {},
): void {
  worker.ledger.write({ event: 'kill', what, pid, startTime, by: worker.id, ...more })
  killProcess({ pid, startTime }, 'SIGKILL')
}

/** A server with a guard that lives; undefined if there is none. */
interface Guarded {
  readonly server: ProcessIdentity
  readonly guard: ProcessIdentity
}

async function guarded({ run }: ActionWorker): Promise<Guarded | undefined> {
  const { control } = pageServerRoot(run.runtime)
  try {
    const found = await askPageServer(control, { op: 'processes' })
    const { server, guard } = found as { server: ProcessIdentity; guard: ProcessIdentity | null }
    return guard !== null && isAlive(guard) ? { server, guard } : undefined
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

export const killServer: Action = (worker) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await guarded(worker)
    if (found === undefined) return { skipped: 'no server with a guard' }
    kill(worker, 'server', found.server)
    return { pid: found.server.pid }
  })

export const killGuard: Action = (worker) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await guarded(worker)
    if (found === undefined) return { skipped: 'no guard' }
    kill(worker, 'guard', found.guard)
    return { pid: found.guard.pid }
  })

/** The VMs stand still until the next paged restore starts a server, which therefore follows at once. */
export const killBoth: Action = (worker, context) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await guarded(worker)
    if (found === undefined) return { skipped: 'no server with a guard' }
    kill(worker, 'guard', found.guard)
    kill(worker, 'server', found.server)
    return { pids: [found.guard.pid, found.server.pid], ...(await restoreBy(worker, context, 'paged')) }
  })

export const handOver: Action = async (worker) => {
  const { server } = await handOverPageServer(worker.run.runtime)
  return { pid: server.pid }
}

/** Of any worker, or detached. */
export const killVmm: Action = async (worker) => {
  const found = worker.random.pick(listMachines(worker.run.runtime))
  if (found === undefined) return { skipped: 'no machine' }
  const { id, owner, process } = found.record
  kill(worker, 'vmm', process, { vm: id, owner: owner?.pid ?? null })
  return { vm: id }
}

/** Of any worker: the VM that it holds must end with it. */
export const killMapper: Action = async (worker) => {
  const mappers = processesOf(worker.run.directory).filter(({ command }) =>
    / \S*mapper-main\.js \d+$/.test(command),
  )
  const found = worker.random.pick(mappers)
  if (found === undefined) return { skipped: 'no mapper' }
  const owner = Number(found.command.split(' ').at(-1))
  kill(worker, 'mapper', found, { owner })
  return { owner }
}

export const killWorker: Action = (worker) =>
  inTurn(worker, 'worker', workerRestMs, async () => {
    const others = readdirSync(worker.run.workers).filter((name) => name !== `${worker.id}.json`)
    const name = worker.random.pick(others)
    if (name === undefined) return { skipped: 'no other worker' }
    const identity = JSON.parse(readFileSync(join(worker.run.workers, name), 'utf8')) as ProcessIdentity
    kill(worker, 'worker', identity)
    return { worker: name }
  })
