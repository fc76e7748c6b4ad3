import { defineExperiment, labFunction, measureFunction, prepareEach, prepareWithSet } from '@varve/lab'

export const experiment = defineExperiment({
  name: 'quick',
  question: 'How long from the request until a function in a restored Linux VM has answered, by engine?',
  guest: 'linux',
  factors: {
    function: ['hello', 'json'],
    cache: ['cold', 'warm'],
    restore: [
      'warm VM',
      'cold boot',
      'vanilla',
      'file',
      'file, set alongside',
      'paged',
      'paged, set alongside',
      'mapped',
      'mapped, set alongside',
      'auto',
    ],
  },
  // Neither restores anything, so there is nothing to be cold.
  where: ({ cache, restore }) => cache === 'warm' || (restore !== 'warm VM' && restore !== 'cold boot'),
  // The ideal of the literature: a plain snapshot, all of it in the page cache.
  compare: { factor: 'restore', baseline: { restore: 'vanilla', cache: 'warm' } },
  rounds: { native: 20, nested: 1 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, (name) =>
      prepareWithSet(lab, labFunction(name)),
    )
    return {
      measure: (cell) => measureFunction(functions.of(cell.function), cell, lab),
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
