import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MicroConsole } from '@varve/lab'
import { divideByName, type Written } from '@varve/lab/testing'
import { restoreLayeredMemory } from 'varve'
import { compareImages, writeLayeredMemory } from 'varve/layers'
import { pagesOf } from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const still: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }

/**
 * A memory file and layers next to it, without a store: the base in the file, two Diffs as ranges behind it.
 */
async function layeredMemory(context: ScenarioContext): Promise<Facts> {
  const { binary, runtimeDirectory, store } = context
  const { two } = await makeThreeLayers(context)
  await using snapshot = await store.open(two)
  const directory = context.path('layered')
  await writeLayeredMemory(snapshot, directory)
  const files = { statePath: join(directory, 'state'), memoryPath: join(directory, 'memory') }
  const restored = await restoreLayeredMemory(files, { binary, runtimeDirectory, resume: false })
  assert.equal(restored.machine.state, 'paused')
  assert.ok(restored.mapping.mappings >= 10)
  {
    await using paused = restored.machine
    const memoryPath = context.path('full.memory')
    await paused.snapshot({ type: 'Full', statePath: context.path('full.state'), memoryPath })
    const { unexplained, guestOwn } = divideByName(await compareImages(snapshot, memoryPath), threeLayersMib)
    assert.deepEqual([...pagesOf(unexplained), ...pagesOf(guestOwn)], [], 'only what the load writes differs')
  }
  {
    const { machine } = await restoreLayeredMemory(files, { binary, runtimeDirectory })
    await using _machine = machine
    await using console = MicroConsole.attach(machine.paths)
    assert.equal(await console.verify(still.pattern, still.seed), 900)
  }
  // What is not as the footer says starts nothing.
  const memory = readFileSync(files.memoryPath)
  const refused = async (code: string) => {
    await assert.rejects(restoreLayeredMemory(files, { binary, runtimeDirectory }), { code })
    assert.deepEqual(readdirSync(join(runtimeDirectory, 'machines')), [], 'no VM is left')
  }
  memory.writeUInt8((memory.at(-100) as number) ^ 1, memory.length - 100)
  writeFileSync(files.memoryPath, memory)
  await refused('CHECKSUM_MISMATCH')
  rmSync(files.memoryPath)
  await refused('NOT_FOUND')
  return { files: readdirSync(directory).sort(), mapping: restored.mapping }
}

export const layeredMemoryScenario: Scenario = {
  name: 'layered-memory',
  nativeIsEnough: true,
  claim:
    'a memory file whose footer lists ranges of other files is restored without a store, every page right',
  run: layeredMemory,
}
