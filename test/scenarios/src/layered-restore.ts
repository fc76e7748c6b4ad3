import assert from 'node:assert/strict'
import { divideByName, MicroVm, type Written } from '@varve/lab/testing'
import { type EngineName, engineNames } from 'varve'
import { compareImages, countPages, readLayer } from 'varve/layers'
import { pagesOf } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

export const threeLayersMib = 32

const area = (start: number, count: number, seed: number): Written => ({
  pattern: { start, count, order: 3 },
  seed,
})

/**
 * What the guest must hold at the end: parts of the base overwritten by one,
 * parts of both overwritten by two.
 */
const kept: readonly Written[] = [
  area(1024, 1000, 1), // base alone
  area(2024, 500, 2), // base, then one
  area(2524, 500, 3), // base, then two
  area(3024, 300, 3), // one, then two
  area(7000, 200, 3), // two alone
]
const zeroed = { start: 3324, count: 250 }

/**
 * Base (Full) and two Diffs of a guest that overwrites, adds to and zeroes what it
 * wrote before. Gives their tags.
 */
export async function makeThreeLayers(
  context: ScenarioContext,
): Promise<{ base: string; one: string; two: string }> {
  await using vm = await MicroVm.boot(context, { memoryMib: threeLayersMib })
  await vm.fill(area(1024, 2600, 1))
  await vm.capture(context, 'base', { base: 'Full' })
  await vm.resume()
  await vm.fill(area(2024, 500, 2), area(3024, 300, 2))
  await vm.capture(context, 'one', { parent: 'base' })
  await vm.resume()
  await vm.fill(area(2524, 500, 3), area(3024, 300, 3), area(7000, 200, 3))
  await vm.console.zero(zeroed)
  await vm.capture(context, 'two', { parent: 'one' })
  return { base: 'base', one: 'one', two: 'two' }
}

async function layeredRestore(context: ScenarioContext, engine: EngineName): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using snapshot = await context.store.open(two)
  const layers = await Promise.all(snapshot.files.map(({ path }) => readLayer(path)))
  const counts = layers.map(({ index }) => countPages(index))
  assert.ok((counts.at(-1)?.zero ?? 0) >= zeroed.count, 'zeroed pages are zero pages of the layer')

  // Loaded and not resumed: only what Firecracker itself writes on load may differ.
  const atLoad = await fullAgain(context, engine, two, 'at-load', async () => {})
  const loadDifference = divideByName(await compareImages(snapshot, atLoad), threeLayersMib)
  assert.deepEqual([...pagesOf(loadDifference.unexplained)], [])
  assert.deepEqual([...pagesOf(loadDifference.guestOwn)], [])

  // Resumed: the guest checks its pages itself; then only its own few pages may differ as well.
  let verified = 0
  const afterRun = await fullAgain(context, engine, two, 'after-run', async (vm) => {
    await vm.resume()
    verified = await vm.verify(...kept)
    assert.equal((await vm.console.sum(zeroed)).value, 0n)
  })
  const runDifference = divideByName(await compareImages(snapshot, afterRun), threeLayersMib)
  assert.deepEqual([...pagesOf(runDifference.unexplained)], [])
  assert.equal(verified, 2500)
  return {
    layers: counts,
    extents: snapshot.map.starts.length,
    verifiedPages: verified + zeroed.count,
    rewrittenByFirecrackerOnLoad: loadDifference.vmm,
    changedByGuestItself: [...pagesOf(runDifference.guestOwn)],
  }
}

/** Restores, lets `act` work, and takes a Full: the path of its memory file. */
async function fullAgain(
  context: ScenarioContext,
  engine: EngineName,
  ref: string,
  name: string,
  act: (vm: MicroVm) => Promise<void>,
): Promise<string> {
  await using vm = await MicroVm.restore(context, ref, engine)
  await act(vm)
  const memoryPath = context.path(`${name}.memory`)
  await (await vm.pause()).snapshot({ type: 'Full', statePath: context.path(`${name}.state`), memoryPath })
  return memoryPath
}

export const layeredRestoreScenarios: readonly Scenario[] = engineNames.map((engine) => ({
  name: `layered-${engine}`,
  claim: `a base and two Diffs come back through the ${engine} engine, byte-identical but for named pages`,
  run: (context: ScenarioContext) => layeredRestore(context, engine),
  // mapped-chain does the same and more.
  nativeIsEnough: true,
}))
