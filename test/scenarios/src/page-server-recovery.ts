import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MicroConsole } from '@varve/lab'
import { median, restoreMicroGuest } from '@varve/lab/testing'
import type { PageServer } from 'varve'
import { isAlive } from 'varve/testing'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** What the design promises. */
const limitMs = 1000
/** Enough to see that it works; `VARVE_KILLS=50` for the figures of docs/results/page-server-recovery.md. */
const defaultKills = 5

/**
 * All pages of the guest that hold its pattern: base alone, base overwritten by one, by two, both, two alone.
 */
const areas = [
  { start: 1024, count: 1000, seed: 1 },
  { start: 2024, count: 500, seed: 2 },
  { start: 2524, count: 500, seed: 3 },
  { start: 3024, count: 300, seed: 3 },
  { start: 7000, count: 200, seed: 3 },
] as const
const zeroed = { start: 3324, count: 250 }

async function recovery(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const kills = Number(process.env.VARVE_KILLS ?? defaultKills)
  const found: Recovery[] = []
  for (let kill = 0; kill < kills; kill++) found.push(await oneKill(context, two, kill))
  const stood = found.map(({ stoodMs }) => stoodMs).sort((a, b) => a - b)
  const worst = stood.at(-1) as number
  // Emulated machines are several times too slow for the promise.
  if (context.lab === 'native') assert.ok(worst < limitMs, `a VM stood still for ${worst} ms`)
  const tenths = (ms: number) => Math.round(ms * 10) / 10
  return {
    kills,
    faultsBefore: found.map(({ faultsBefore }) => faultsBefore),
    stoodMs: { median: tenths(median(stood)), most: tenths(worst) },
    pagesVerified: found.reduce((sum, { pages }) => sum + pages, 0),
  }
}

interface Recovery {
  readonly faultsBefore: number
  /** From the kill until a successor had answered a fault. */
  readonly stoodMs: number
  readonly pages: number
}

/** SIGKILL of the page server while the guest checks page after page that it has not seen yet. */
async function oneKill(context: ScenarioContext, ref: string, run: number): Promise<Recovery> {
  await using guest = await restoreMicroGuest(context, ref, { engine: 'paged' })
  const { pageServer, console } = guest
  assert.ok(pageServer)
  // One whose guard is there: the last kill may have been a moment ago.
  const { server } = await guarded(pageServer)
  await console.ping()
  const checking = checkAll(console)
  // What fails first is told; the console is closed then.
  checking.catch(() => {})
  // Another moment in each run.
  let faultsBefore = 0
  while (faultsBefore < 20 + ((run * 37) % 400)) faultsBefore = (await pageServer.stats()).faults
  const killed = performance.now()
  process.kill(server.pid, 'SIGKILL')
  // The successor counts from zero.
  while (isAlive(server) || (await pageServer.stats()).faults === 0) await sleep(1)
  const stoodMs = performance.now() - killed
  const pages = await checking
  assert.notEqual((await pageServer.processes()).server.pid, server.pid)
  return { faultsBefore, stoodMs, pages }
}

async function guarded(pageServer: PageServer) {
  for (;;) {
    const { server, guard } = await pageServer.processes()
    if (guard !== null && isAlive(guard)) return { server }
    await sleep(5)
  }
}

async function checkAll(console: MicroConsole): Promise<number> {
  let pages = 0
  for (const { seed, ...pattern } of areas) pages += await console.verify({ ...pattern, order: 3 }, seed)
  assert.equal((await console.sum(zeroed)).value, 0n)
  return pages + zeroed.count
}

export const pageServerRecoveryScenario: Scenario = {
  name: 'page-server-recovery',
  claim: `a page server that is killed under load is succeeded within ${limitMs} ms, and the guest’s memory is right`,
  run: recovery,
  nativeIsEnough: true,
}
