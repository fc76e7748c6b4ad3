import assert from 'node:assert/strict'
import { isAlive, isVarveError, restoreMachine } from 'varve'
import { MicroConsole } from '../micro/micro-console.js'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './scenario.js'

/** What the design promises: a VM never outlives its page server by more than this. */
const limitMs = 100

/** SIGKILL of the page server while faults are in flight. */
async function pageServerDeath(context: ScenarioContext): Promise<Facts> {
  const { binary, runtimeDirectory } = context
  const { two } = await makeThreeLayers(context)
  const { machine, pageServer } = await restoreMachine(two, { engine: 'paged', binary, runtimeDirectory })
  assert.ok(pageServer)
  await using console = MicroConsole.attach(machine.paths)
  await using _stop = machine
  await console.ping()
  // A pass over every page of the guest: far from over when the server goes.
  const pass = console.read({ start: 512, count: 7_000, order: 1 }, { timeoutMs: 5000 }).then(
    () => 'finished',
    () => 'broken off',
  )
  const before = (await pageServer.stats()).faults
  while ((await pageServer.stats()).faults < before + 100);
  const faults = (await pageServer.stats()).faults
  const killed = performance.now()
  process.kill(pageServer.identity.pid, 'SIGKILL')
  const exit = await machine.exited
  const afterMs = performance.now() - killed
  assert.equal(exit.signal, 'SIGKILL')
  assert.equal(isAlive(machine.identity), false)
  // Emulated machines are several times too slow for the promise; there the order of events is what is checked.
  if (context.lab === 'native')
    assert.ok(afterMs < limitMs, `the VM outlived its page server by ${afterMs.toFixed(0)} ms`)
  const failure = await machine.pause().then(
    () => undefined,
    (error: unknown) => error,
  )
  assert.ok(isVarveError(failure, 'PAGE_SERVER_DIED'), String(failure))
  assert.equal(await Promise.race([pass, machine.exited.then(() => 'broken off')]), 'broken off')
  return { faultsBefore: faults, killedVmAfterMs: Math.round(afterMs * 10) / 10, error: failure.message }
}

export const pageServerDeathScenario: Scenario = {
  name: 'page-server-death',
  claim: `a page server that dies takes its VM with it within ${limitMs} ms, with an error that says why`,
  run: pageServerDeath,
}
