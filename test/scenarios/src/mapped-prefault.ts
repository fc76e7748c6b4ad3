import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { type RestoreOptions, restoreMachine } from 'varve'
import { pageRange, pageSetFromRuns, type WorkingSet } from 'varve/working-sets'
import { canHaveAlongsideThread } from './alongside-thread.js'
import { makeThreeLayers } from './layered-restore.js'
import { traces } from './mapper-traces.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/**
 * A working set's pages are there before the guest runs: shared if they were only read, private if written.
 */
async function mappedPrefault(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const { binary, runtimeDirectory, store } = context
  const { entry, map } = await store.open(two).then(async (snapshot) => {
    await using open = snapshot
    return { entry: open.entry, map: open.map }
  })
  const readOnly = pageSetFromRuns([
    { start: 1024, count: 800 },
    { start: 2600, count: 300 },
  ])
  const written = pageRange(2024, 200)
  const workingSet: WorkingSet = {
    image: entry.id,
    pages: map.pages,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly,
    written,
    groups: [{ atMs: 1, set: pageRange(1024, 300) }],
    notes: {},
  }
  const idle = async (
    set: WorkingSet | undefined,
    when: Pick<RestoreOptions, 'prefetch' | 'prefetchBudgetMs'> = { prefetch: 'before' },
  ) => {
    const { machine, report, prefetching } = await restoreMachine(store, two, {
      engine: 'mapped',
      binary,
      runtimeDirectory,
      resume: false,
      ...(set === undefined ? {} : { workingSet: set, ...when }),
    })
    await using _machine = machine
    const failure = (await prefetching)?.failure ?? null
    assert.equal(helperThreads(machine.pid), 0, 'a thread that brings pages is gone when they are there')
    assert.deepEqual(traces(machine.pid).executableWithoutFile, [])
    return { prefault: report.mapping?.prefault, failure, ...memoryOf(machine.pid) }
  }
  const without = await idle(undefined)
  const withSet = await idle(workingSet)
  const all = { readOnlyPages: 1100, writtenPages: 200, refusedCalls: 0, heldBecause: null }
  assert.deepEqual([withSet.prefault, withSet.failure], [{ ...all, besidePages: 0, thread: null }, null])
  const concurrent = await idle(workingSet, { prefetch: 'concurrent' })
  const alongside = canHaveAlongsideThread(binary.path)
  const thread = concurrent.prefault?.thread ?? null
  assert.equal(thread !== null && thread > 1, alongside)
  const alongsideThen = { ...all, besidePages: alongside ? 1300 : 0, thread }
  assert.deepEqual([concurrent.prefault, concurrent.failure], [alongsideThen, null])
  // Whatever came within the budget, and by the thread: all, none, or some of both.
  const budgets = [60_000, 0.001, 0.5, 1, 2]
  const split = []
  for (const prefetchBudgetMs of budgets)
    split.push(await idle(workingSet, { prefetch: 'before', prefetchBudgetMs }))
  const besidePages = split.map(({ prefault }) => prefault?.besidePages)
  assert.equal(besidePages[0], 0)
  assert.equal((besidePages[1] ?? 0) > 0, alongside, 'at once it is over')
  for (const it of [concurrent, ...split]) {
    assert.ok(Math.abs(it.anonymousKib - withSet.anonymousKib) <= 64, 'by a thread it comes to the same')
    assert.ok(it.rssKib >= withSet.rssKib - 256)
  }
  const anonymous = withSet.anonymousKib - without.anonymousKib
  // Firecracker's own heap is in these figures, too.
  assert.ok(Math.abs(anonymous - 800) <= 64, `200 written pages took ${anonymous} KiB`)
  const mapped = withSet.rssKib - without.rssKib - anonymous
  assert.ok(mapped >= 4400 - 256, `1,100 read-only pages took ${mapped} KiB`)
  return { without, with: withSet, alongside, besidePages }
}

/** Threads without a name of their own: Firecracker's are its main one, `fc_api` and `fc_vcpu N`. */
function helperThreads(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .filter((tid) => tid !== `${pid}`)
    .map((tid) => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8'))
    .filter((name) => !name.startsWith('fc_')).length
}

function memoryOf(pid: number): { readonly rssKib: number; readonly anonymousKib: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1])
  return { rssKib: kib('Rss'), anonymousKib: kib('Anonymous') }
}

export const mappedPrefaultScenario: Scenario = {
  name: 'mapped-prefault',
  nativeIsEnough: true,
  claim: 'mapped with a working set, its pages are there before the guest runs, each as its class asks',
  run: mappedPrefault,
}
