// An experiment of one's own, as docs/guides/experiments.md explains it: how long
// does a micro guest take to boot?
import { bootMicroGuest, defineExperiment } from '@varve/lab'

export const experiment = defineExperiment({
  name: 'boots',
  question: 'Does a larger guest take longer to boot?',
  guest: 'micro',
  factors: { memoryMib: process.env.BOOTS_LARGE === undefined ? [64, 128] : [64, 256] },
  compare: { factor: 'memoryMib', baseline: { memoryMib: 64 }, measure: 'bootMs' },
  rounds: 4,
  prepare: async ({ binary, runtimeDirectory }) => ({
    measure: async ({ memoryMib }, { signal }) => {
      const start = performance.now()
      const {
        machine,
        console: guest,
        pages,
      } = await bootMicroGuest({
        memoryMib,
        binary,
        runtimeDirectory,
        signal,
      })
      const bootMs = performance.now() - start
      await guest[Symbol.asyncDispose]()
      await machine.stop()
      return { correct: pages === memoryMib * 256, measures: { bootMs } }
    },
    [Symbol.asyncDispose]: async () => {},
  }),
})
