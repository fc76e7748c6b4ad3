import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot, type EngineName, engineNames, isVarveError, type TakeOptions } from 'varve'
import { compareImages } from 'varve/layers'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 64
/** Enough for a fork to be quicker than a copy, and few enough for a copy. */
const first: Written = { pattern: { start: 1024, count: 3000, stride: 2 }, seed: 1 }
const second: Written = { pattern: { start: 1024, count: 2000, stride: 3 }, seed: 2 }
const third: Written = { pattern: { start: 2000, count: 500, stride: 5, order: 7 }, seed: 3 }

type How = Pick<TakeOptions, 'mode' | 'freeze' | 'base'>

/**
 * Captures a paused machine live, then has Firecracker write a Full of it: nothing ran in between, so both
 * must have the same bytes.
 */
async function sameAsFull(context: ScenarioContext, vm: MicroVm, tag: string, how: How): Promise<number> {
  const paused = await vm.pause()
  const taken = await captureSnapshot(paused, { store: context.store, tags: [tag], mode: 'live', ...how })
  assert.equal(taken.way.mode, 'live')
  const [statePath, memoryPath] = [context.path('full.state'), context.path('full')]
  await paused.snapshot({ type: 'Full', statePath, memoryPath })
  await using image = await context.store.open(tag)
  const different = await compareImages(image, memoryPath)
  assert.equal(different.pages, 0, `${tag}: pages differ from ${different.starts[0]} on`)
  for (const path of [statePath, memoryPath]) rmSync(path)
  await vm.resume()
  return taken.way.frozen?.pages ?? 0
}

async function booted(context: ScenarioContext, trackDirtyPages: boolean, name: string): Promise<number[]> {
  await using vm = await MicroVm.boot(context, { memoryMib, trackDirtyPages })
  await vm.fill(first)
  const base = await sameAsFull(context, vm, `${name}-base`, { freeze: 'fork' })
  await vm.fill(second)
  const child = await sameAsFull(context, vm, name, { freeze: 'copy' })
  return [base, child]
}

async function restored(context: ScenarioContext, from: string, engine: EngineName): Promise<number[]> {
  await using vm = await MicroVm.restore(context, from, engine)
  await vm.resume()
  await vm.fill(third)
  const tag = `${from}-${engine}`
  const pages = [await sameAsFull(context, vm, tag, { freeze: 'copy' })]
  await vm.fill(second)
  pages.push(await sameAsFull(context, vm, `${tag}-again`, { freeze: 'fork' }))
  await vm.fill(first)
  try {
    pages.push(await sameAsFull(context, vm, `${tag}-base`, { base: 'Full' }))
  } catch (error) {
    // Its pages come from a page server: not all of them have.
    assert(isVarveError(error, 'HOST_UNSUPPORTED') && ['paged', 'patched'].includes(engine), `${error}`)
  }
  await isRight(context, `${tag}-again`)
  return pages
}

async function isRight(context: ScenarioContext, ref: string): Promise<void> {
  await using vm = await MicroVm.restore(context, ref, 'file')
  await vm.resume()
  await vm.verify(second)
}

async function liveSameBytes(context: ScenarioContext): Promise<Facts> {
  const facts: Record<string, number[]> = {}
  for (const [name, tracked] of [
    ['tracked', true],
    ['untracked', false],
  ] as const) {
    facts[name] = await booted(context, tracked, name)
    for (const engine of engineNames) facts[`${name}, ${engine}`] = await restored(context, name, engine)
  }
  return facts
}

export const liveSameBytesScenario: Scenario = {
  name: 'live-same-bytes',
  claim:
    'a live capture has the same bytes as a Full that Firecracker writes at the same moment: by copy and by fork, with and without a log of written pages, after a boot and after a restore by each engine',
  run: liveSameBytes,
  // Under emulation it takes minutes; Linux guests are captured live in the nested lab (linux-vcpus.mjs).
  nativeIsEnough: true,
}
