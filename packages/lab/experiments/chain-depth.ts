import { guestAgent } from '@varve/guest'
import {
  defineExperiment,
  functionInput,
  labFunction,
  measureFunction,
  openFunction,
  prepareEach,
  prepareFunction,
  withSet,
} from '@varve/lab'
import { captureSnapshot, restoreMachine } from 'varve'

export const experiment = defineExperiment({
  name: 'chain-depth',
  question: 'Does a restore cost more when its image lies in many layers?',
  guest: 'linux',
  factors: {
    restore: ['vanilla', 'file', 'paged', 'mapped', 'mapped, set alongside'],
    depth: [1, 2, 4, 8, 16, 32],
  },
  compare: { factor: 'depth', baseline: { depth: 1 } },
  rounds: { native: 20, nested: 2 },
  prepare: async (lab) => {
    const { binary, runtimeDirectory, signal } = lab
    const base = await prepareFunction(lab, labFunction('json'), { memoryMib: 192 })
    await using _base = base
    const { fn, memoryMib, store } = base
    const input = functionInput(fn, 'b')
    // Each layer is what one more invocation wrote.
    let tag = base.tag
    for (let depth = 2; depth <= Math.max(...lab.factors.depth); depth++) {
      lab.say(`layer ${depth}`)
      const { machine } = await restoreMachine(store, tag, { binary, runtimeDirectory, signal })
      await using running = machine
      await guestAgent(running).functions.invoke(fn.name, input, { timeoutMs: 120_000, signal })
      const parent = tag
      tag = `depth-${depth}`
      await captureSnapshot(await running.pause(), { store, tags: [tag], parent, signal })
    }
    const depths = await prepareEach(lab.factors.depth, async (depth) =>
      withSet(lab, await openFunction(store, depth === 1 ? base.tag : `depth-${depth}`, fn, memoryMib)),
    )
    return {
      measure: ({ depth, restore }) => measureFunction(depths.of(depth), { restore, cache: 'warm' }, lab),
      [Symbol.asyncDispose]: () => depths[Symbol.asyncDispose](),
    }
  },
})
