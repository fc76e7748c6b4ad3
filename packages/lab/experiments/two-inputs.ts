import { defineExperiment, labFunction, measureFunction, prepareEach, prepareWithSet } from '@varve/lab'

export const experiment = defineExperiment({
  name: 'two-inputs',
  question: 'Is a working set that was recorded on one input of use with another one?',
  guest: 'linux',
  factors: {
    function: ['json', 'html', 'compression', 'aes'],
    // The set is always of input A; B is as large and has other content.
    input: ['a', 'b'],
    restore: ['vanilla', 'file, set beside', 'paged, set beside', 'mapped, set beside'],
  },
  compare: { factor: 'restore', baseline: { restore: 'vanilla' } },
  rounds: { native: 20, nested: 2 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, (name) =>
      prepareWithSet(lab, labFunction(name)),
    )
    return {
      measure: ({ function: name, input, restore }) => {
        const of = functions.of(name)
        return measureFunction(of, { restore, cache: 'cold', input: of.fn.inputs[input] }, lab)
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
