import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { copyFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { MicroVm, restoreMicroGuest, type Written } from '@varve/lab/testing'
import { captureSnapshot, type EngineName, engineNames, type RestoreOptions, type SnapshotEntry } from 'varve'
import { countPages, sealLayer } from 'varve/layers'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const pageBytes = 4096
const before: Written = { pattern: { start: 1024, count: 500, order: 3 }, seed: 1 }
const zeroed = { start: 1524, count: 500 }
const after: Written = { pattern: { start: 2024, count: 500, order: 3 }, seed: 1 }

/**
 * A child that holds zeros and nothing else: every page of data comes from the base, at its own place, and
 * yet the base's file is not the image. A captured guest always writes some page of its own too, so this
 * layer is made by hand.
 */
async function zeroingChild(context: ScenarioContext): Promise<Facts> {
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.fill({ pattern: { start: 1024, count: 1500, order: 3 }, seed: 1 })
    await captureSnapshot(await vm.pause(), { store: context.store, tags: ['base'], base: 'Full' })
  }
  await addZeroingChild(context, 'child')
  const engines: (RestoreOptions['engine'] & string)[] = [...engineNames, 'auto']
  const chosen: Record<string, EngineName> = {}
  for (const engine of engines) chosen[engine] = await assertRestores(context, 'child', engine)
  // `auto` again, now that `file` left what it made.
  chosen.again = await assertRestores(context, 'child', 'auto')
  return { chosen }
}

async function addZeroingChild({ store }: ScenarioContext, tag: string): Promise<SnapshotEntry> {
  const base = await store.describe('base')
  await using opened = await store.open('base')
  await using staging = await store.stage()
  const [layerPath, statePath] = [join(staging.directory, 'memory'), join(staging.directory, 'state')]
  {
    await using memory = await open(layerPath, 'wx', 0o600)
    await memory.truncate(base.config.memoryPages * pageBytes)
    await memory.write(Buffer.alloc(zeroed.count * pageBytes), 0, undefined, zeroed.start * pageBytes)
  }
  copyFileSync(opened.statePath, statePath)
  const id = randomBytes(16).toString('hex')
  const layer = await sealLayer(layerPath, { image: id, parent: base.entry.id })
  assert.deepEqual(countPages(layer.index), {
    data: 0,
    zero: zeroed.count,
    absent: base.config.memoryPages - zeroed.count,
  })
  const config = { ...base.config, id, parent: base.entry.id, kind: 'diff' as const }
  return (await store.commit({ config, layerPath, statePath, disks: [] }, { tags: [tag] })).entry
}

/** Gives the engine that restored it. */
async function assertRestores(
  context: ScenarioContext,
  ref: string,
  engine: RestoreOptions['engine'] & string,
): Promise<EngineName> {
  await using guest = await restoreMicroGuest(context, ref, { engine })
  const { report, console } = guest
  assert.equal((await console.sum(zeroed)).value, 0n, `${engine}: pages that the child zeroed are zero`)
  for (const { pattern, seed } of [before, after])
    assert.equal(await console.verify(pattern, seed), pattern.count)
  return report.engine
}

export const zeroingChildScenario: Scenario = {
  name: 'zeroing-child',
  claim:
    'pages that a child only zeroes come back as zeros by every engine, and what is around them as it was',
  run: zeroingChild,
}
