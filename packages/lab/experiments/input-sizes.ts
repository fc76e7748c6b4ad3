import { defineExperiment, labFunction, measureFunction, prepareEach, prepareWithSet } from '@varve/lab'

export const experiment = defineExperiment({
  name: 'input-sizes',
  question: 'How far does a working set reach when the input grows or shrinks?',
  guest: 'linux',
  factors: {
    function: ['json', 'compression', 'image'],
    /** Times the size of input A, on which the set was recorded. */
    scale: [0.25, 0.5, 1, 2, 4, 8],
    restore: ['vanilla', 'file, set beside', 'mapped, set beside'],
  },
  compare: { factor: 'restore', baseline: { restore: 'vanilla' } },
  rounds: { native: 20, nested: 1 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, (name) =>
      prepareWithSet(lab, labFunction(name)),
    )
    return {
      measure: ({ function: name, scale, restore }) => {
        const of = functions.of(name)
        const { size, seed } = of.fn.inputs.a
        const input = { size: Math.max(1, Math.round(scale * size)), seed }
        return measureFunction(of, { restore, cache: 'cold', input }, lab)
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
