import assert from 'node:assert/strict'
import { type MicroConsole, type TouchPattern, touchedPages } from '@varve/lab'
import { divideByName, restoreMicroGuest } from '@varve/lab/testing'
import { type PrefetchMode, restoreMachine, type ServedPrefetch } from 'varve'
import { compareImages } from 'varve/layers'
import {
  minus,
  type PageSet,
  pageSetFromPages,
  pagesOf,
  presentPages,
  readWorkingSet,
  unionAll,
} from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** Over all layers, zeroed pages and pages never written. */
const read: readonly TouchPattern[] = [
  { start: 1030, count: 300, stride: 7, order: 4 },
  { start: 3324, count: 100, stride: 2 },
  { start: 4000, count: 200 },
]
const written: readonly TouchPattern[] = [{ start: 1034, count: 150, stride: 14, order: 5 }]
const setName = 'touches'

const touch = async (console: MicroConsole) => {
  for (const pattern of read) await console.read(pattern)
  for (const pattern of written) await console.write(pattern, 9)
}

/** The set of one run, by the faults recorder, kept with its snapshot. */
async function recordSet(context: ScenarioContext, ref: string): Promise<PageSet> {
  await using guest = await restoreMicroGuest(context, ref, {
    engine: 'paged',
    record: { recorders: ['faults'] },
  })
  const { recording, console } = guest
  assert.ok(recording)
  await touch(console)
  const { workingSet } = await recording.stop()
  await context.store.saveWorkingSet(ref, setName, workingSet)
  return presentPages(workingSet)
}

interface Run {
  readonly prefetch: ServedPrefetch
  readonly faults: number
  readonly phasesMs: Readonly<Record<string, number>>
}

/**
 * The same touches again; then the guest's memory must be the image but for what it was
 * told to write, and named pages.
 */
async function restoreAhead(context: ScenarioContext, ref: string, mode: PrefetchMode): Promise<Run> {
  await using guest = await restoreMicroGuest(context, ref, {
    engine: 'paged',
    workingSet: setName,
    prefetch: mode,
  })
  const { machine, pageServer, report, prefetching, console } = guest
  assert.ok(pageServer)
  await touch(console)
  const { faults } = await pageServer.stats()
  const prefetch = await pageServer.prefetched({ wait: true })
  assert.equal(prefetch.state, 'finished')
  const { copiedPages, zeroPages, existingPages, plannedPages } = prefetch
  assert.equal(copiedPages + zeroPages + existingPages, plannedPages, 'each page of the set is accounted for')
  assert.equal((await prefetching)?.pages, plannedPages)
  assert.equal((await prefetching)?.failure, null)
  if (mode === 'before') assert.ok(report.phasesMs.prefetch !== undefined, 'the guest waited for it')
  const paused = await machine.pause()
  const memoryPath = context.path(`${mode}.memory`)
  await paused.snapshot({ type: 'Full', statePath: context.path(`${mode}.state`), memoryPath })
  await using snapshot = await context.store.open(ref)
  const told = unionAll(written.map((pattern) => pageSetFromPages(touchedPages(pattern))))
  const differing = await compareImages(snapshot, memoryPath)
  const { unexplained } = divideByName(minus(differing, told), threeLayersMib)
  assert.deepEqual([...pagesOf(unexplained)], [], 'memory is the image but for what was written')
  assert.deepEqual([...pagesOf(minus(told, differing))], [], 'and that was written')
  return { prefetch, faults, phasesMs: report.phasesMs }
}

async function prefetch(context: ScenarioContext): Promise<Facts> {
  const { base, two } = await makeThreeLayers(context)
  const set = await recordSet(context, two)
  const eager = await restoreAhead(context, two, 'before')
  // The load itself, and the guest's own code, touch some pages while the set is being installed; nothing
  // else is left to ask for.
  const mayBeDemanded = eager.prefetch.existingPages
  assert.ok(
    eager.faults <= mayBeDemanded + namedPages,
    `${eager.faults} faults though the set of ${set.pages} pages was there, ${mayBeDemanded} of it by demand`,
  )
  const concurrent = await restoreAhead(context, two, 'concurrent')
  // Emulated, each start of a page server takes seconds, and a refusal is the same everywhere.
  if (context.lab === 'native') await refusals(context, { ref: two, other: base })
  return { pages: set.pages, eager, concurrent }
}

/** What cannot be fetched ahead is refused before anything runs. */
async function refusals(
  { binary, runtimeDirectory, store }: ScenarioContext,
  { ref, other }: { readonly ref: string; readonly other: string },
): Promise<void> {
  await using snapshot = await store.open(ref)
  const ofRef = await readWorkingSet(snapshot.workingSetFiles[0]?.path ?? '')
  const common = { binary, runtimeDirectory, engine: 'paged' } as const
  const unknown = restoreMachine(store, ref, { ...common, workingSet: 'unknown' })
  await assert.rejects(unknown, { code: 'NOT_FOUND' })
  await assert.rejects(restoreMachine(store, other, { ...common, workingSet: ofRef }), {
    code: 'IMAGE_MISMATCH',
  })
  const recorded = restoreMachine(store, ref, {
    ...common,
    workingSet: setName,
    record: { recorders: ['faults'] },
  })
  await assert.rejects(recorded, { code: 'RECORDER_UNRELIABLE' })
}

/** Firecracker's own at the load: VMGenID, VMClock. */
const namedPages = 2

export const prefetchScenario: Scenario = {
  name: 'prefetch',
  nativeIsEnough: true,
  claim:
    'a working set’s pages are in memory before they are asked for, before it runs or beside it, and memory is right',
  run: prefetch,
}
