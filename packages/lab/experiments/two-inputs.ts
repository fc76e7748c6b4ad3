import {
  defineExperiment,
  fitOf,
  labFunction,
  measureFunction,
  prepareEach,
  prepareWithSet,
} from '@varve/lab'

export const experiment = defineExperiment({
  name: 'two-inputs',
  question: 'Is a working set that was recorded on one input of use with another one?',
  guest: 'linux',
  factors: {
    function: ['json', 'html', 'compression', 'aes'],
    // The set is always of input A; B is as large and has other content.
    input: ['a', 'b'],
    restore: ['vanilla', 'file, set alongside', 'paged, set alongside', 'mapped, set alongside'],
  },
  compare: { factor: 'restore', baseline: { restore: 'vanilla' } },
  rounds: { native: 20, nested: 2 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, async (name) => {
      const of = await prepareWithSet(lab, labFunction(name))
      // Of A too: two recordings of one input are not quite the same.
      const a = await fitOf(of, of.fn.inputs.a, 'input A again', lab)
      const b = await fitOf(of, of.fn.inputs.b, 'input B', lab)
      return { ...of, fits: { a, b } }
    })
    return {
      measure: ({ function: name, input, restore }) => {
        const of = functions.of(name)
        const cell = { restore, cache: 'cold', input: of.fn.inputs[input], fit: of.fits[input] } as const
        return measureFunction(of, cell, lab)
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
