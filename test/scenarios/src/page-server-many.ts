import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { median } from '@varve/lab/testing'
import { type PageServer, type RestoreReport, type RunningMachine, restoreMachine } from 'varve'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const oneByOne = 3
const together = 4
/** Pages of the guest's own pattern, in all three layers. */
const kept = [
  { pattern: { start: 1024, count: 1000, order: 3 }, seed: 1 },
  { pattern: { start: 2024, count: 500, order: 3 }, seed: 2 },
  { pattern: { start: 2524, count: 500, order: 3 }, seed: 3 },
] as const

interface Clone {
  readonly machine: RunningMachine
  readonly pageServer: PageServer
  readonly report: RestoreReport
}

async function many(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const clones: Clone[] = []
  const restore = async () => {
    const { binary, runtimeDirectory, store } = context
    const options = { engine: 'paged', binary, runtimeDirectory } as const
    const { machine, pageServer, report } = await restoreMachine(store, two, options)
    assert.ok(pageServer)
    clones.push({ machine, pageServer, report })
  }
  try {
    for (let count = 0; count < oneByOne; count++) await restore()
    await Promise.all(Array.from({ length: together }, restore))
    const mapped = () => {
      const { pid } = (clones[0] as Clone).pageServer.identity
      return readFileSync(`/proc/${pid}/maps`, 'utf8')
        .split('\n')
        .filter((line) => line.includes('/blobs/')).length
    }
    const facts = await useAll(clones)
    assert.equal(mapped(), 3, 'each layer is mapped once')
    await Promise.all(clones.map(({ machine }) => machine.stop()))
    // A process that stops a machine may want to remove what it used.
    assert.equal(mapped(), 0, 'no layer is mapped any more')
    return facts
  } finally {
    await Promise.all(clones.map(({ machine }) => machine.stop()))
  }
}

async function useAll(restored: readonly Clone[]): Promise<Facts> {
  const [first, ...later] = restored.slice(0, oneByOne).map(({ report }) => report)
  const servers = new Set(restored.map(({ pageServer }) => pageServer.identity.pid))
  assert.equal(servers.size, 1, `one process serves all, not ${[...servers]}`)
  // All at once: each has its own memory, and only its own faults.
  const verified = await Promise.all(
    restored.map(async ({ machine }, index) => {
      await using console = MicroConsole.attach(machine.paths)
      let pages = 0
      for (const { pattern, seed } of kept) pages += await console.verify(pattern, seed)
      await console.fill({ start: 1024, count: 300 }, 100 + index)
      return pages
    }),
  )
  assert.deepEqual(new Set(verified), new Set([2000]))
  for (const [index, { machine, pageServer }] of restored.entries()) {
    await using console = MicroConsole.attach(machine.paths)
    assert.equal(await console.verify({ start: 1024, count: 300 }, 100 + index), 300)
    const { copiedPages } = await pageServer.stats()
    assert.ok(copiedPages >= 2000, `${copiedPages} pages for this VM`)
  }
  const ms = (reports: readonly (RestoreReport | undefined)[]) => {
    const tenths = (of: (report: RestoreReport) => number | undefined) =>
      Math.round(median(reports.map((report) => (report && of(report)) ?? 0)) * 10) / 10
    return {
      start: tenths(({ phasesMs }) => phasesMs['page server start']),
      order: tenths(({ phasesMs }) => phasesMs['page server']),
      total: tenths(({ totalMs }) => totalMs),
    }
  }
  return { machines: restored.length, firstMs: ms([first]), laterMs: ms(later) }
}

export const pageServerManyScenario: Scenario = {
  name: 'page-server-many',
  nativeIsEnough: true,
  claim:
    'one page server serves many VMs at the same time, each with its own memory; only the first waits for its start',
  run: many,
}
