import assert from 'node:assert/strict'
import { MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import {
  cloneMachines,
  type EngineName,
  engineNames,
  launchMachine,
  memoryUse,
  type PausedMachine,
  type RunningMachine,
} from 'varve'
import { flatten } from 'varve/layers'
import { furtherDiff } from './further-diff.js'
import { makeThreeLayers } from './layered-restore.js'
import { traces } from './mapper-traces.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const later: Written = { pattern: { start: 2000, count: 700, order: 5 }, seed: 9 }
const still: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }

async function mappedChain(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using vm = await MicroVm.restore(context, two, 'mapped')
  const left = traces(vm.machine.pid)
  assert.deepEqual(left, { tracer: 0, layerDescriptors: [], executableWithoutFile: [], seccomp: 2 })
  return await furtherDiff(context, vm, two, engineNames)
}

/**
 * An image of many small runs: from its layers one mapping each, from a flat file,
 * once there is one, hardly any.
 */
async function mappedScattered(context: ScenarioContext): Promise<Facts> {
  const lower: Written = { pattern: { start: 1024, count: 4000, order: 1 }, seed: 1 }
  const upper: Written = { pattern: { start: 1024, count: 2000, stride: 2, order: 2 }, seed: 2 }
  const between: Written = { pattern: { start: 1025, count: 2000, stride: 2, order: 3 }, seed: 1 }
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.fill(lower)
    await vm.capture(context, 'base')
    await vm.resume()
    await vm.fill(upper)
    await vm.capture(context, 'child', { parent: 'base' })
  }
  const mapped = async () => {
    const { vm, report } = await MicroVm.restoreWithReport(context, 'child', 'mapped')
    await using _vm = vm
    await vm.resume()
    assert.equal(await vm.verify(upper, between), 4000)
    return report.mapping
  }
  const fromLayers = await mapped()
  assert.ok((fromLayers?.mappings ?? 0) >= 4000)
  await using _flat = await MicroVm.restore(context, 'child', 'file')
  const fromFlat = await mapped()
  assert.ok((fromFlat?.mappings ?? 0) <= 513, JSON.stringify(fromFlat))
  return { fromLayers, fromFlat }
}

/**
 * Six clones at once, by Firecracker alone (a flat memory file, loaded by hand), by the file engine and by
 * mapped layers: the same work must leave them with about the same memory of their own.
 */
async function mappedClones(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const { binary, runtimeDirectory, store } = context
  const count = 6
  const afterWork = async (machines: readonly (RunningMachine | PausedMachine)[]) => {
    try {
      const idle = machines.map(({ pid }) => memoryUse(pid))
      const all = await Promise.all(
        machines.map(async ({ pid, paths }) => {
          await using console = MicroConsole.attach(paths)
          assert.equal(await console.verify(still.pattern, still.seed), 900)
          await console.write(later.pattern, later.seed)
          // Zeros of the image, read and written.
          await console.read({ start: 4000, count: 500 })
          await console.write({ start: 5000, count: 100 }, 5)
          return memoryUse(pid)?.privateDirtyBytes ?? 0
        }),
      )
      return { idle: idle[0], privateBytes: all.sort((a, b) => a - b) }
    } finally {
      for (const machine of machines) await machine.stop()
    }
  }
  const byEngine = async (engine: EngineName) => {
    const clones = await cloneMachines(store, two, count, { binary, runtimeDirectory, engine })
    return afterWork(clones.map(({ machine }) => machine))
  }
  await using snapshot = await store.open(two)
  const memoryPath = context.path('vanilla.memory')
  await flatten(snapshot, memoryPath)
  const loaded: RunningMachine[] = []
  for (let clone = 0; clone < count; clone++) {
    const launched = await launchMachine({ binary, runtimeDirectory })
    const memory = { backend: 'File', path: memoryPath } as const
    loaded.push(await launched.loadAndResume({ statePath: snapshot.statePath, memory }))
  }
  const vanilla = await afterWork(loaded)
  const file = await byEngine('file')
  const mapped = await byEngine('mapped')
  for (const [engine, { privateBytes }] of Object.entries({ file, mapped })) {
    const beyond = (privateBytes.at(-1) ?? 0) - (vanilla.privateBytes[0] ?? 0)
    assert.ok(
      beyond <= 2 ** 20,
      `a clone by ${engine} has ${beyond} bytes more of its own than by Firecracker`,
    )
  }
  return { vanilla, file, mapped }
}

export const mappedEngineScenarios: readonly Scenario[] = [
  {
    name: 'mapped-chain',
    claim:
      'a clone with mapped layers writes, is captured as a Diff and as a Full, and comes back by every engine',
    run: mappedChain,
  },
  {
    name: 'mapped-scattered',
    nativeIsEnough: true,
    claim:
      'an image of 4,000 runs is mapped from its layers, and from a flat file where there is one: every page is right',
    run: mappedScattered,
  },
  {
    name: 'mapped-clones',
    nativeIsEnough: true,
    claim:
      'six clones at once, by a flat file or mapped layers, are right, and each has at most 1 MiB more of its own than by Firecracker alone',
    run: mappedClones,
  },
]
