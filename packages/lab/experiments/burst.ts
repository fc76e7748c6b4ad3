import { defineExperiment, labFunction, measureFunction, prepareWithSet } from '@varve/lab'

export const experiment = defineExperiment({
  name: 'burst',
  question:
    'How long until all of N clones that are asked for at once have answered, and what does each cost?',
  guest: 'linux',
  factors: {
    function: ['hello'],
    cache: ['cold', 'warm'],
    clones: [1, 2, 4, 8, 16, 32, 64],
    restore: ['vanilla', 'file, set alongside', 'paged, set alongside', 'mapped, set alongside'],
  },
  // A page server for each clone: more of them than this are a test of the host's memory.
  where: ({ clones, restore }) => clones <= 16 || !restore.startsWith('paged'),
  compare: { factor: 'restore', baseline: { restore: 'vanilla' } },
  rounds: { native: 10, nested: 1 },
  prepare: async (lab) => {
    const of = await prepareWithSet(lab, labFunction(lab.factors.function[0]), { memoryMib: 192 })
    return {
      measure: ({ cache, clones, restore }) => measureFunction(of, { restore, cache, clones }, lab),
      [Symbol.asyncDispose]: () => of[Symbol.asyncDispose](),
    }
  },
})
