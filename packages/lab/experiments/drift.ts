import {
  defineExperiment,
  type FunctionSnapshot,
  labFunction,
  prepareEach,
  prepareFunction,
  recordFunction,
} from '@varve/lab'
import { jaccard, presentPages, type WorkingSet } from 'varve/working-sets'

interface Watched extends FunctionSnapshot {
  /** The first recording on input A. */
  readonly first: WorkingSet
}

export const experiment = defineExperiment({
  name: 'drift',
  question: 'How alike are the pages that a function touches from run to run, and from input to input?',
  guest: 'linux',
  factors: {
    function: ['hello', 'json', 'html', 'compression', 'matmul', 'read-list'],
    input: ['a', 'b', 'a4'],
  },
  compare: { factor: 'input', baseline: { input: 'a' }, measure: 'presentPages' },
  rounds: { native: 10, nested: 2 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, async (name): Promise<Watched> => {
      const of = await prepareFunction(lab, labFunction(name))
      return { ...of, first: (await recordFunction(of, of.fn.inputs.a, lab)).workingSet }
    })
    return {
      measure: async ({ function: name, input }, { round }) => {
        const of = functions.of(name)
        const { correct, totalMs, workingSet } = await recordFunction(of, of.fn.inputs[input], lab, {
          show: { name: `${name}, ${input}, ${round}`, about: { function: name, input } },
        })
        const writtenPages = workingSet.written.pages
        return {
          correct,
          measures: {
            totalMs,
            presentPages: workingSet.readOnly.pages + writtenPages,
            writtenPages,
            likeTheFirst: jaccard(presentPages(of.first), presentPages(workingSet)),
          },
        }
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
