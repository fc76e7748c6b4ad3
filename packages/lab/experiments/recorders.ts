import {
  bringIntoCache,
  defineExperiment,
  labFunction,
  measureFunction,
  prepareEach,
  prepareWithSet,
  recordFunction,
} from '@varve/lab'

const recorders = {
  pagemap: ['pagemap'],
  faults: ['faults'],
  'mincore and diff': ['mincore', 'diff'],
} as const

export const experiment = defineExperiment({
  name: 'recorders',
  question: 'What does each recorder find, and what does it cost the function that it watches?',
  guest: 'linux',
  factors: {
    function: ['hello', 'json', 'matmul'],
    recorder: ['none', ...(Object.keys(recorders) as (keyof typeof recorders)[])],
  },
  compare: { factor: 'recorder', baseline: { recorder: 'none' } },
  rounds: { native: 10, nested: 2 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, (name) =>
      prepareWithSet(lab, labFunction(name)),
    )
    return {
      measure: async ({ function: name, recorder }, { round }) => {
        const of = functions.of(name)
        if (recorder === 'none') return measureFunction(of, { restore: 'vanilla', cache: 'warm' }, lab)
        // mincore drops it again, for itself.
        bringIntoCache(of.files)
        const { correct, totalMs, stopMs, workingSet } = await recordFunction(of, of.fn.inputs.a, lab, {
          recorders: recorders[recorder],
          show: { name: `${name}, ${recorder}, ${round}`, about: { function: name, recorder } },
        })
        const writtenPages = workingSet.written.pages
        const presentPages = workingSet.readOnly.pages + writtenPages
        return { correct, measures: { totalMs, stopMs, presentPages, writtenPages } }
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
