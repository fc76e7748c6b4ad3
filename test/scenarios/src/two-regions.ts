import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync } from 'node:fs'
import { divideByName, MicroVm, type Written } from '@varve/lab/testing'
import { type EngineName, engineNames } from 'varve'
import { compareImages } from 'varve/layers'
import { readStateFile } from 'varve/state-files'
import { pagesOf } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** Above 3,328 MiB (3 GiB from Firecracker 1.13) a guest's memory has a second region, from 4 GiB on. */
const memoryMib = 4096
const pagesMib = 256

const below: Written = { pattern: { start: 3000 * pagesMib, count: 300, order: 1 }, seed: 1 }
/** Pages of the file that lie in the second region, whatever the version. */
const above: Written = { pattern: { start: 3400 * pagesMib, count: 300, order: 2 }, seed: 2 }
const later: Written = { pattern: { start: 4000 * pagesMib, count: 300, order: 3 }, seed: 3 }

const own: Written = { pattern: { start: 3500 * pagesMib, count: 300, order: 5 }, seed: 4 }
/** `VARVE_FULLS=1`: also a Full of each further clone, dense, 4 GiB each. */
const fulls = process.env.VARVE_FULLS === '1'

/** A guest of two regions, its base taken as a sparse Diff, restored from two layers by each engine. */
async function twoRegions(context: ScenarioContext): Promise<Facts> {
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.fill(below, above)
    await vm.capture(context, 'base', { base: 'Diff' })
    await vm.resume()
    await vm.fill(later)
    await vm.capture(context, 'child', { parent: 'base' })
  }
  await using snapshot = await context.store.open('child')
  const { regions } = readStateFile(readFileSync(snapshot.statePath))
  assert.equal(regions.length, 2)
  assert.equal(regions[0]?.guestAddress, 0)
  assert.equal(regions[1]?.guestAddress, 2 ** 32)
  assert.equal(
    regions[1]?.fileOffset,
    regions[0]?.sizeBytes,
    'the file has no gap where the addresses have one',
  )
  for (const engine of engineNames) {
    await using vm = await MicroVm.restore(context, 'child', engine)
    await vm.resume()
    assert.equal(await vm.verify(below, above, later), 900)
    // Emulated, a restore more of each engine is half a minute more.
    if (context.lab === 'native') await goesOn(context, vm, engine)
  }
  return {
    fulls,
    regions,
    allocatedBytes: snapshot.files.map(({ path }) => statSync(path).blocks * 512),
  }
}

/** A further Diff of a clone, and a restore of that. */
async function goesOn(context: ScenarioContext, vm: MicroVm, engine: EngineName): Promise<void> {
  const tag = `child-${engine}`
  await vm.fill(own)
  await vm.capture(context, tag, { parent: 'child' })
  await using again = await MicroVm.restore(context, tag, engine)
  await again.resume()
  assert.equal(await again.verify(below, above, later, own), 1200)
  if (fulls) await isTheImage(context, again, tag)
}

/** A Full is the image but for named pages. */
async function isTheImage(context: ScenarioContext, vm: MicroVm, ref: string): Promise<void> {
  const [statePath, memoryPath] = [context.path('full.state'), context.path('full')]
  await (await vm.pause()).snapshot({ type: 'Full', statePath, memoryPath })
  await using image = await context.store.open(ref)
  const { unexplained } = divideByName(await compareImages(image, memoryPath), memoryMib)
  assert.deepEqual([...pagesOf(unexplained)], [])
  for (const path of [statePath, memoryPath]) rmSync(path)
}

export const twoRegionsScenario: Scenario = {
  name: 'two-regions',
  nativeIsEnough: true,
  claim: 'a 4 GiB guest has two regions; layers of it, and a Diff of a clone, come back through every engine',
  run: twoRegions,
  notApplicable: ({ version: { major, minor, patch } }) =>
    major === 1 && minor === 14 && patch < 2
      ? 'Firecracker 1.14.0 and 1.14.1 write wrong Diffs of such a guest, and Varve refuses to take them'
      : null,
}
