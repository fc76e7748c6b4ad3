import { writeFileSync } from 'node:fs'
import { defineExperiment, dropFromCache } from '@varve/lab'

/** An experiment with one cold file and no VM. */
export const experiment = defineExperiment({
  name: 'cold',
  question: 'Is a file cold that was dropped?',
  guest: 'micro',
  factors: { run: [1] },
  compare: { factor: 'run', baseline: { run: 1 } },
  rounds: 1,
  prepare: async ({ directory }) => ({
    measure: async () => {
      writeFileSync(`${directory}/file`, Buffer.alloc(10 * 4096, 1))
      dropFromCache([`${directory}/file`])
      return { correct: true, measures: { totalMs: 1 } }
    },
    [Symbol.asyncDispose]: async () => {},
  }),
})
