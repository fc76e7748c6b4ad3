import assert from 'node:assert/strict'
import { MicroConsole, microGuestOwnPages, type TouchPattern, touchedPages } from '@varve/lab'
import { rewrittenOnLoad } from '@varve/lab/testing'
import { type PausedMachine, restoreMachine } from 'varve'
import { compareImages } from 'varve/layers'
import { minus, type PageSet, pageSetFromPages, pageSetFromRuns, pagesOf, unionAll } from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

interface Period {
  readonly read: readonly TouchPattern[]
  readonly written: readonly TouchPattern[]
}

/**
 * Over pages of all layers (1024 to 3323 and 7000 to 7199), pages that were zeroed (3324 to
 * 3573) and pages that were never written (3624 to 6999). Each period meets pages that earlier
 * ones read, wrote, or left alone.
 */
const periods: readonly Period[] = [
  {
    read: [
      { start: 1030, count: 200, stride: 10, order: 11 },
      { start: 3324, count: 60, stride: 4 },
    ],
    written: [
      { start: 1035, count: 200, stride: 10, order: 12 },
      { start: 4000, count: 100, stride: 9, order: 5 },
    ],
  },
  {
    // What the first read is written; what it wrote is read.
    read: [{ start: 1035, count: 200, stride: 10 }],
    written: [
      { start: 1030, count: 100, stride: 10, order: 3 },
      { start: 3324, count: 60, stride: 4 },
    ],
  },
  { read: [{ start: 1100, count: 400 }], written: [] },
  // Some for the third time, some for the first, in one run.
  { read: [], written: [{ start: 1100, count: 400 }] },
]

/**
 * Writes period by period, told by the page server alone, against what the guest was
 * told and what its memory holds.
 */
async function writePeriods(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const { binary, runtimeDirectory, store } = context
  const restored = await restoreMachine(store, two, {
    engine: 'paged',
    binary,
    runtimeDirectory,
    trackDirtyPages: false,
    resume: false,
    beforeLoad: async ({ faults }) => {
      await faults?.record({ writes: true })
    },
  })
  const { pageServer } = restored
  let machine: PausedMachine = restored.machine
  await using _machine = {
    [Symbol.asyncDispose]: async () => {
      await machine.stop()
    },
  }
  await using console = MicroConsole.attach(machine.paths)
  assert.ok(pageServer)
  let image = await fullImage(context, machine, 'at-load')
  // The Full has read all of memory: every page is there from now on, and only writes are left to see.
  const load = await pageServer.recorded({ next: 'again' })
  assert.ok(load.written)
  assert.equal(load.touched.pages, threeLayersMib * 256, 'the snapshot touches every page')
  assert.deepEqual(list(minus(load.written, named)), [], 'the load writes named pages only')
  const facts: object[] = []
  for (const [number, { read, written }] of periods.entries()) {
    const running = await machine.resume()
    for (const pattern of read) await console.read(pattern)
    for (const pattern of written) await console.write(pattern, 100 + number)
    machine = await running.pause()
    const found = await pageServer.recorded({ next: 'again' })
    const after = await fullImage(context, machine, `period-${number}`)
    const changed = await compareImages(image, after)
    image = after
    const told = setOf(written)
    assert.ok(found.written && found.unchanged)
    assert.deepEqual(list(minus(told, found.written)), [], `period ${number}: every written page is there`)
    assert.deepEqual(list(minus(found.written, unionAll([told, named]))), [], `period ${number}: no other is`)
    assert.deepEqual(list(minus(changed, found.written)), [], `period ${number}: all that changed is there`)
    facts.push({
      told: told.pages,
      found: found.written.pages,
      changed: changed.pages,
      named: list(minus(found.written, told)),
    })
  }
  return { writtenByTheLoad: list(load.written), periods: facts }
}

async function fullImage(context: ScenarioContext, machine: PausedMachine, name: string): Promise<string> {
  const memoryPath = context.path(`${name}.memory`)
  await machine.snapshot({ type: 'Full', statePath: context.path(`${name}.state`), memoryPath })
  return memoryPath
}

/** Pages that Firecracker or the guest's own code write. */
const named = unionAll([
  pageSetFromRuns([microGuestOwnPages(threeLayersMib * 2 ** 20)]),
  pageSetFromPages(Object.values(rewrittenOnLoad)),
])
const setOf = (patterns: readonly TouchPattern[]) =>
  unionAll(patterns.map((pattern) => pageSetFromPages(touchedPages(pattern))))
const list = (set: PageSet) => [...pagesOf(set)]

export const writePeriodsScenario: Scenario = {
  name: 'write-periods',
  claim:
    'period by period the page server names the pages that were written, each and no other, without KVM’s dirty log, on a stock Firecracker',
  run: writePeriods,
  // ground-truth has the recorder that looks this way.
  nativeIsEnough: true,
}
