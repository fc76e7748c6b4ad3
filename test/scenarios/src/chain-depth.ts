import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { MicroVm, median, type Written } from '@varve/lab/testing'
import { type EngineName, engineNames } from 'varve'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
/** One base and so many Diffs less one. */
const depths = [1, 8, 64] as const
/**
 * Pages that the whole chain writes, the same whatever its depth: every layer but
 * the last a part, then all again.
 */
const area = { start: 1024, count: 3200 }
const again = { start: 6000, count: 100 }

/** The part of the area that one step of a chain writes. Every step also writes the same 100 pages again. */
const writesOf = (step: number, steps: number): readonly Written[] => [
  {
    pattern: {
      start: area.start + Math.floor((step * area.count) / steps),
      count: Math.floor(((step + 1) * area.count) / steps) - Math.floor((step * area.count) / steps),
    },
    seed: 1,
  },
  { pattern: again, seed: 2 + step },
]

/**
 * The same image as chains of 1, 8 and 64 layers, restored by each engine in one run: from the request to the
 * first answer and to the last page of a pass over all that was written. `flatten` is made anew for each
 * restore here, where usually it is made once per image.
 */
async function chainDepth(context: ScenarioContext): Promise<Facts> {
  // Round 0 warms caches and checks every page; one more for the times, five (`VARVE_ROUNDS=5`) for figures.
  const rounds = Number(process.env.VARVE_ROUNDS ?? 1)
  const rows: Row[] = []
  const extents: Record<number, number> = {}
  for (const depth of depths) {
    await makeChain(context, depth)
    await using snapshot = await context.store.open(`depth-${depth}`)
    assert.equal(snapshot.files.length, depth)
    extents[depth] = snapshot.map.starts.length
    for (const engine of engineNames)
      rows.push({ depth, engine, flattenMs: [], openMs: [], firstAnswerMs: [], wholePassMs: [] })
  }
  for (let round = 0; round <= rounds; round++)
    for (const row of round % 2 === 0 ? rows : [...rows].reverse()) await restoreOnce(context, row, round)
  return {
    extents,
    rounds,
    medianMs: rows.map(({ depth, engine, flattenMs, openMs, firstAnswerMs, wholePassMs }) => ({
      depth,
      engine,
      open: tenths(median(openMs)),
      flatten: engine === 'file' ? tenths(median(flattenMs)) : null,
      firstAnswer: tenths(median(firstAnswerMs)),
      wholePass: tenths(median(wholePassMs)),
    })),
    raw: rows,
  }
}

interface Row {
  readonly depth: number
  readonly engine: EngineName
  readonly openMs: number[]
  readonly flattenMs: number[]
  readonly firstAnswerMs: number[]
  readonly wholePassMs: number[]
}

async function makeChain(context: ScenarioContext, depth: number): Promise<void> {
  await using vm = await MicroVm.boot(context, { memoryMib })
  let parent: string | undefined
  for (let step = 0; step < depth; step++) {
    await vm.resume()
    await vm.fill(...writesOf(step, depth))
    const tag = `depth-${depth}`
    await vm.capture(context, tag, parent === undefined ? {} : { parent })
    parent = tag
  }
}

async function restoreOnce(context: ScenarioContext, row: Row, round: number): Promise<void> {
  const ref = `depth-${row.depth}`
  {
    // So that every restore by file pays for its flattening; a base of one layer needs none.
    await using snapshot = await context.store.open(ref)
    rmSync(snapshot.flatPath, { force: true })
  }
  const start = performance.now()
  const { vm, report } = await MicroVm.restoreWithReport(context, ref, row.engine)
  await using _vm = vm
  await vm.resume()
  await vm.console.ping()
  const firstAnswer = performance.now() - start
  await vm.console.read({ ...area, order: 9 })
  const wholePass = performance.now() - start
  if (round === 0) {
    const written: readonly Written[] = [
      { pattern: area, seed: 1 },
      { pattern: again, seed: 1 + row.depth },
    ]
    assert.equal(await vm.verify(...written), area.count + again.count)
    return
  }
  row.openMs.push(report.phasesMs.open ?? 0)
  row.flattenMs.push(report.phasesMs.flatten ?? 0)
  row.firstAnswerMs.push(firstAnswer)
  row.wholePassMs.push(wholePass)
}

const tenths = (ms: number) => Math.round(ms * 10) / 10

export const chainDepthScenario: Scenario = {
  name: 'chain-depth',
  nativeIsEnough: true,
  claim:
    'one image as chains of 1, 8 and 64 layers comes back right by each engine; what it costs, side by side',
  run: chainDepth,
}
