import assert from 'node:assert/strict'
import { divideByName, MicroVm, type Written } from '@varve/lab/testing'
import type { EngineName } from 'varve'
import { compareImages } from 'varve/layers'
import { pagesOf } from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const later: Written = { pattern: { start: 2000, count: 700, order: 5 }, seed: 9 }
const still: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }

/**
 * A clone of three layers, still paused, writes, is captured as a Diff and restored again by `engines`: what
 * KVM logs is what the guest wrote, whichever engine brought the pages.
 */
export async function furtherDiff(
  context: ScenarioContext,
  vm: MicroVm,
  parent: string,
  engines: readonly EngineName[],
): Promise<Facts> {
  await vm.resume()
  await vm.fill(later)
  const { layer } = await vm.capture(context, 'three', { parent })
  const full = { statePath: context.path('full.state'), memoryPath: context.path('full.memory') }
  await (await vm.pause()).snapshot({ type: 'Full', ...full })
  await using three = await context.store.open('three')
  assert.deepEqual([...pagesOf(await compareImages(three, full.memoryPath))], [], 'the chain is the Full')
  // Nothing but what was written: no page is logged because it was put there.
  const data = layer.index.counts.reduce((sum, count) => sum + count, 0)
  assert.ok(data >= 700 && data < 720, `the Diff has ${data} pages`)
  for (const engine of engines) {
    await using again = await MicroVm.restore(context, 'three', engine)
    await again.resume()
    assert.equal(await again.verify(still, later), 1600)
    const memoryPath = context.path(`again-${engine}`)
    await (await again.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
    const { unexplained } = divideByName(await compareImages(three, memoryPath), threeLayersMib)
    assert.deepEqual([...pagesOf(unexplained)], [])
  }
  return { diffPages: data, extents: three.map.starts.length }
}

/** Of mapped layers tells mapped-chain. */
export const furtherDiffScenarios: readonly Scenario[] = (['file', 'paged'] as const).map((engine) => ({
  name: `further-${engine}`,
  claim: `a clone of three layers by the ${engine} engine writes, is captured as a Diff and as a Full, and comes back by it`,
  run: async (context) => {
    const { two } = await makeThreeLayers(context)
    await using vm = await MicroVm.restore(context, two, engine)
    return await furtherDiff(context, vm, two, [engine])
  },
  nativeIsEnough: true,
}))
