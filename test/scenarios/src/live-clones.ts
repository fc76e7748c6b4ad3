import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import { cloneMachines, type PausedMachine, type RunningMachine } from 'varve'
import { compareImages } from 'varve/layers'
import { oneInstant, passesOf, Writer } from './live-writer.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const counts = [1, 4]
/** Alongside the writer's pages; of a guest with two regions, in the second. */
const staticOf = (memoryMib: number): Written => ({
  pattern: { start: memoryMib * 256 - 2000, count: 1500 },
  seed: 77,
})
/** The load itself writes the generation of the VM. */
const mostChangedByLoad = 1

/** Has Firecracker write all of a clone's memory, which the page server must serve, and compares it. */
async function isTheImage(context: ScenarioContext, clone: PausedMachine, ref: string): Promise<void> {
  const [statePath, memoryPath] = [context.path(`${clone.id}.state`), context.path(clone.id)]
  await clone.snapshot({ type: 'Full', statePath, memoryPath })
  await using image = await context.store.open(ref)
  const { pages, starts } = await compareImages(image, memoryPath)
  assert.ok(
    pages <= mostChangedByLoad,
    `${clone.id} differs from ${ref} in ${pages} pages, from ${starts[0]} on`,
  )
  for (const path of [statePath, memoryPath]) rmSync(path)
}

async function goesOn(clone: PausedMachine, pages: Written): Promise<void> {
  const running = await clone.resume()
  await using console = MicroConsole.attach(running.paths)
  await console.ping()
  assert.equal(await console.verify(pages.pattern, pages.seed), pages.pattern.count)
}

async function clonesOf(
  context: ScenarioContext,
  vm: MicroVm,
  { name, memoryMib }: { readonly name: string; readonly memoryMib: number },
): Promise<(number | null)[]> {
  await vm.fill(staticOf(memoryMib))
  await using writer = new Writer(vm)
  const standstills: (number | null)[] = []
  for (const count of counts) {
    const tag = `${name}-${count}`
    const { binary, runtimeDirectory, store } = context
    const options = { binary, runtimeDirectory, store, tags: [tag], resume: false } as const
    await using clones = await cloneMachines(vm.machine as RunningMachine, count, options)
    assert.deepEqual([clones.length, clones.failed.length], [count, 0])
    // Its pages come from the frozen memory, while the others wait for the layers.
    const [first, ...others] = clones.map(({ machine }) => machine)
    await goesOn(first as PausedMachine, staticOf(memoryMib))
    const { entry } = await clones.sealed
    assert.equal(clones.failed.length, 0)
    oneInstant(await passesOf(context, tag), tag)
    for (const machine of others) {
      assert.equal(machine.snapshotId, entry.id)
      if (memoryMib < 1024) await isTheImage(context, machine, tag)
      await goesOn(machine, staticOf(memoryMib))
    }
    standstills.push(clones.standstillMs)
  }
  assert.ok((await writer.end()) > 1)
  return standstills
}

/** All pages of a clone come from the frozen memory: the layer is there only afterwards. */
async function beforeTheLayer(context: ScenarioContext, vm: MicroVm): Promise<void> {
  await vm.fill(staticOf(128))
  const { binary, runtimeDirectory, store } = context
  const paused = await vm.pause()
  const options = { binary, runtimeDirectory, store, tags: ['before'], resume: false } as const
  await using clones = await cloneMachines(paused, 1, options)
  const clone = clones[0]?.machine as PausedMachine
  const [statePath, memoryPath] = [context.path('early.state'), context.path('early')]
  await clone.snapshot({ type: 'Full', statePath, memoryPath })
  await clones.sealed
  await using image = await store.open('before')
  assert.ok((await compareImages(image, memoryPath)).pages <= mostChangedByLoad)
  for (const path of [statePath, memoryPath]) rmSync(path)
  await vm.resume()
}

async function liveClones(context: ScenarioContext): Promise<Facts> {
  const facts: Record<string, unknown> = {}
  for (const memoryMib of context.lab === 'native' ? [128, 4096] : [128]) {
    const name = `${memoryMib}`
    await using vm = await MicroVm.boot(context, { memoryMib })
    facts[name] = await clonesOf(context, vm, { name, memoryMib })
    if (memoryMib === 128) await beforeTheLayer(context, vm)
  }
  for (const name of ['file', 'mapped', 'paged'] as const) {
    await using vm = await MicroVm.restore(context, '128-4', name)
    await vm.resume()
    await vm.console.ping()
    facts[name] = await clonesOf(context, vm, { name, memoryMib: 128 })
  }
  return facts
}

export const liveClonesScenario: Scenario = {
  name: 'live-clones',
  claim:
    'a guest that writes all the time is cloned as it was at one instant, and goes on: clones are served from the frozen memory, then from layers, and have the bytes of the snapshot; with one region and two, after a boot and after a restore by each engine',
  run: liveClones,
  // Under emulation it takes minutes; Linux guests are captured live in the nested lab (linux-vcpus.mjs).
  nativeIsEnough: true,
}
