import assert from 'node:assert/strict'
import { MicroVm, type Written } from '@varve/lab/testing'
import { compareImages, countPages } from 'varve/layers'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const rounds = 3
/**
 * Whole pages per round, each round in a place of its own, so that every earlier round can still be checked.
 */
const roundPages = 200

interface Workflow {
  readonly start: 'boot' | 'load'
  /** Pause, resume and pause again around every snapshot. */
  readonly extraPauses: boolean
}

const writtenIn = (round: number): Written => ({
  pattern: { start: 1024 + round * 1000, count: roundPages, order: 7 + round },
  seed: 100 + round,
})

/**
 * Rounds of write, pause, Diff, resume. In each pause a Full is taken right after the Diff: nothing ran in
 * between, so the chain composed up to that Diff must equal it in every byte.
 */
async function workflow(context: ScenarioContext, { start, extraPauses }: Workflow): Promise<Facts> {
  const history: Written[] = [writtenIn(0)]
  let vm = await MicroVm.boot(context, { memoryMib })
  try {
    await vm.fill(writtenIn(0))
    await vm.capture(context, 'base')
    await vm.resume()
    const dataPages: number[] = []
    let parent = 'base'
    for (let round = 1; round <= rounds; round++) {
      if (start === 'load') {
        await vm[Symbol.asyncDispose]()
        vm = await MicroVm.restore(context, parent, 'file')
        await vm.resume()
      }
      history.push(writtenIn(round))
      await vm.fill(writtenIn(round))
      await pauseCycle(vm, extraPauses)
      const tag = `round-${round}`
      const { layer } = await vm.capture(context, tag, { parent })
      const { data } = countPages(layer.index)
      dataPages.push(data)
      assert.ok(data >= roundPages, `round ${round}: the Diff has ${data} data pages`)
      await assertComposedEqualsFull(context, vm, tag, round)
      await vm.resume()
      await pauseCycle(vm, extraPauses)
      await vm.resume()
      assert.equal(await vm.verify(...history), history.length * roundPages)
      parent = tag
    }
    return { rounds, dataPages }
  } finally {
    await vm[Symbol.asyncDispose]()
  }
}

async function pauseCycle(vm: MicroVm, extra: boolean): Promise<void> {
  if (!extra) return
  await vm.pause()
  await vm.resume()
  await vm.console.ping()
}

async function assertComposedEqualsFull(
  context: ScenarioContext,
  vm: MicroVm,
  ref: string,
  round: number,
): Promise<void> {
  const full = {
    statePath: context.path(`full-${round}.state`),
    memoryPath: context.path(`full-${round}.memory`),
  }
  await (await vm.pause()).snapshot({ type: 'Full', ...full })
  await using snapshot = await context.store.open(ref)
  const differing = await compareImages(snapshot, full.memoryPath)
  assert.equal(
    differing.pages,
    0,
    `round ${round}: composed image and Full differ in ${differing.pages} pages`,
  )
}

const scenario = (name: string, claim: string, options: Workflow): Scenario => ({
  name,
  claim,
  run: (context) => workflow(context, options),
  // The one with a boot and extra pauses, and mapped-chain, which captures what was
  // restored, are all of the others.
  ...(options.extraPauses && options.start === 'boot' ? {} : { nativeIsEnough: true as const }),
})

export const workflowScenarios: readonly Scenario[] = [
  scenario('workflow-boot', 'boot → pause → snapshot → resume → pause → snapshot …', {
    start: 'boot',
    extraPauses: false,
  }),
  scenario('workflow-boot-pauses', 'the same with extra pause and resume', {
    start: 'boot',
    extraPauses: true,
  }),
  scenario('workflow-load', 'load → resume → pause → snapshot → load …', {
    start: 'load',
    extraPauses: false,
  }),
  scenario('workflow-load-pauses', 'the same with extra pause and resume', {
    start: 'load',
    extraPauses: true,
  }),
]
