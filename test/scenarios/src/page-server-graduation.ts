import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { touchedPages } from '@varve/lab'
import { divideByName, restoreMicroGuest } from '@varve/lab/testing'
import { compareImages } from 'varve/layers'
import { isAlive } from 'varve/testing'
import { minus, pageSetFromPages, pagesOf } from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const checked = { start: 1024, count: 1000, order: 3 }
const written = { start: 4000, count: 300 }

async function graduation(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using guest = await restoreMicroGuest(context, two, { engine: 'paged', graduate: true })
  const { machine, pageServer, console } = guest
  assert.ok(pageServer)
  // The guest has its own wishes meanwhile.
  await console.write(written, 9)
  const report = await pageServer.graduation({ wait: true })
  assert.equal(report.state, 'finished', report.failure ?? '')
  const { identity: server } = pageServer
  process.kill(server.pid, 'SIGKILL')
  while (isAlive(server)) await sleep(1)
  assert.equal(await console.verify(checked, 1), checked.count)
  const memoryPath = context.path('graduated.memory')
  const paused = await machine.pause()
  await paused.snapshot({ type: 'Full', statePath: context.path('graduated.state'), memoryPath })
  await using snapshot = await context.store.open(two)
  const differing = await compareImages(snapshot, memoryPath)
  const told = pageSetFromPages(touchedPages(written))
  const { unexplained } = divideByName(minus(differing, told), threeLayersMib)
  assert.deepEqual([...pagesOf(unexplained)], [], 'memory is the image but for what was written')
  assert.deepEqual([...pagesOf(minus(told, differing))], [], 'and that was written')
  return { copiedPages: report.copiedPages, ms: Math.round((report.ms ?? 0) * 10) / 10 }
}

export const pageServerGraduationScenario: Scenario = {
  name: 'page-server-graduation',
  claim: 'a VM that has graduated has all of its memory and outlives its page server',
  run: graduation,
  nativeIsEnough: true,
}
