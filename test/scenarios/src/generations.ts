import assert from 'node:assert/strict'
import { divideByName, MicroVm, type Written } from '@varve/lab/testing'
import { type EngineName, engineNames } from 'varve'
import { compareImages } from 'varve/layers'
import { pagesOf } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const first: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }
const second: Written = { pattern: { start: 1500, count: 700, order: 5 }, seed: 2 }
const third: Written = { pattern: { start: 6000, count: 400, order: 7 }, seed: 3 }
/** What is left of the first after the second wrote over its end. */
const firstLeft: Written = { pattern: { start: 1024, count: 476 }, seed: 1 }

/**
 * A base alone, restored; a Diff of that clone, restored; a Diff of the clone of the clone, restored by every
 * engine. Each is paused and written again in full: the same image but for named pages.
 */
async function generations(context: ScenarioContext, engine: EngineName): Promise<Facts> {
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.fill(first)
    await vm.capture(context, 'base')
  }
  const diffPages: number[] = []
  const next = async (from: string, to: string, holds: readonly Written[], writes: Written) => {
    await using vm = await MicroVm.restore(context, from, engine)
    await vm.resume()
    await vm.verify(...holds)
    await vm.fill(writes)
    const { layer } = await vm.capture(context, to, { parent: from })
    diffPages.push(layer.index.counts.reduce((sum, count) => sum + count, 0))
    assert.deepEqual(await changed(context, vm, to), [])
  }
  await next('base', 'child', [first], second)
  await next('child', 'grandchild', [firstLeft, second], third)
  for (const other of engineNames) {
    await using vm = await MicroVm.restore(context, 'grandchild', other)
    await vm.resume()
    assert.equal(await vm.verify(firstLeft, second, third), 1576)
    assert.deepEqual(await changed(context, vm, 'grandchild'), [])
  }
  return { diffPages }
}

/** Pages of a VM that differ from a snapshot of it, by a Full of both: none, but for named ones. */
async function changed(context: ScenarioContext, vm: MicroVm, ref: string): Promise<number[]> {
  const memoryPath = context.path(`${ref}-full-${serial++}`)
  await (await vm.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
  await using snapshot = await context.store.open(ref)
  const { unexplained } = divideByName(await compareImages(snapshot, memoryPath), memoryMib)
  return [...pagesOf(unexplained)]
}
let serial = 0

export const generationsScenarios: readonly Scenario[] = engineNames.map((engine) => ({
  name: `generations-${engine}`,
  claim: `a base, a clone of it and a clone of the clone, each captured and restored by the ${engine} engine, hold what they should`,
  run: (context) => generations(context, engine),
  nativeIsEnough: true,
}))
