import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { handOverPageServer, listMachines } from 'varve'
import { askPageServer, isAlive, isGone, killProcess, pageServerRoot, tryLock } from 'varve/testing'
import { disposing } from '../disposing.mjs'
import { processesOf } from '../processes.mjs'
import { restore } from './restore-actions.mjs'

/**
 * A guard is started at most once a second, and the VMs of a server whose guard died with it stand still
 * (docs/formats).
 */
const serverRestMs = 3000
/** Pause between kills, so that the workers also make progress. */
const workerRestMs = 4000

/** Runs `work` if no other worker is killing, and the last kill of this kind is long enough ago. */
async function inTurn(worker, kind, restMs, work) {
  const turn = await tryLock(worker.run.killLock)
  if (turn === undefined) return { skipped: 'another worker kills' }
  return await disposing(turn, async () => {
    const path = worker.run.killTimes
    const times = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {}
    if (Date.now() - (times[kind] ?? 0) < restMs) return { skipped: 'too soon' }
    try {
      return await work()
    } finally {
      writeFileSync(path, JSON.stringify({ ...times, [kind]: Date.now() }))
    }
  })
}

function kill(worker, what, identity, more = {}) {
  const { pid, startTime } = identity
  worker.ledger.write({ event: 'kill', what, pid, startTime, by: worker.id, ...more })
  return killProcess({ pid, startTime }, 'SIGKILL')
}

/** Undefined if no server listens. */
async function serving({ run }) {
  const { control } = pageServerRoot(run.runtime)
  try {
    return await askPageServer(control, { op: 'processes' })
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

const guarded = (found) => found?.guard != null && isAlive(found.guard)

export const killServer = (worker) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await serving(worker)
    if (!guarded(found)) return { skipped: 'no server with a guard' }
    kill(worker, 'server', found.server)
    return { pid: found.server.pid }
  })

export const killGuard = (worker) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await serving(worker)
    if (!guarded(found)) return { skipped: 'no guard' }
    kill(worker, 'guard', found.guard)
    return { pid: found.guard.pid }
  })

/** The VMs stand still until the next paged restore starts a server, which therefore follows at once. */
export const killBoth = (worker, context) =>
  inTurn(worker, 'server', serverRestMs, async () => {
    const found = await serving(worker)
    if (!guarded(found)) return { skipped: 'no server with a guard' }
    kill(worker, 'guard', found.guard)
    kill(worker, 'server', found.server)
    return { pids: [found.guard.pid, found.server.pid], ...(await restore(worker, context, 'paged')) }
  })

export async function handOver(worker) {
  const { server } = await handOverPageServer(worker.run.runtime)
  return { pid: server.pid }
}

/** Of any worker, or detached. */
export async function killVmm(worker) {
  const found = worker.random.pick(listMachines(worker.run.runtime))
  if (found === undefined) return { skipped: 'no machine' }
  const { id, owner, process } = found.record
  kill(worker, 'vmm', process, { vm: id, owner: owner?.pid ?? null })
  return { vm: id }
}

/** Of any worker: the VM that it holds must end with it. */
export async function killMapper(worker) {
  const mappers = processesOf(worker.run.directory).filter(({ command }) =>
    / \S*mapper-main\.js \d+$/.test(command),
  )
  const found = worker.random.pick(mappers)
  if (found === undefined) return { skipped: 'no mapper' }
  const owner = Number(found.command.split(' ').at(-1))
  kill(worker, 'mapper', found, { owner })
  return { owner }
}

export const killWorker = (worker) =>
  inTurn(worker, 'worker', workerRestMs, async () => {
    const others = readdirSync(worker.run.workers).filter((name) => name !== `${worker.id}.json`)
    const name = worker.random.pick(others)
    if (name === undefined) return { skipped: 'no other worker' }
    const identity = JSON.parse(readFileSync(join(worker.run.workers, name), 'utf8'))
    kill(worker, 'worker', identity)
    return { worker: name }
  })
