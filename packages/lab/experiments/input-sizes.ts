import {
  defineExperiment,
  type FunctionSnapshot,
  fitOf,
  labFunction,
  measureFunction,
  prepareEach,
  prepareWithSet,
} from '@varve/lab'

function scaled({ fn }: FunctionSnapshot, scale: number) {
  const { size, seed } = fn.inputs.a
  return { size: Math.max(1, Math.round(scale * size)), seed }
}

export const experiment = defineExperiment({
  name: 'input-sizes',
  question: 'How far does a working set reach when the input grows or shrinks?',
  guest: 'linux',
  factors: {
    function: ['json', 'compression', 'image'],
    /** Times the size of input A, on which the set was recorded. */
    scale: [0.25, 0.5, 1, 2, 4, 8],
    restore: ['vanilla', 'file, set alongside', 'mapped, set alongside'],
  },
  compare: { factor: 'restore', baseline: { restore: 'vanilla' } },
  rounds: { native: 20, nested: 1 },
  prepare: async (lab) => {
    const functions = await prepareEach(lab.factors.function, async (name) => {
      const of = await prepareWithSet(lab, labFunction(name))
      const fits = new Map<number, { readonly unusedPages: number; readonly missedPages: number }>()
      for (const scale of lab.factors.scale)
        fits.set(scale, await fitOf(of, scaled(of, scale), `${scale} × input A`, lab))
      return { ...of, fits }
    })
    return {
      measure: ({ function: name, scale, restore }) => {
        const of = functions.of(name)
        const fit = of.fits.get(scale) ?? {}
        return measureFunction(of, { restore, cache: 'cold', input: scaled(of, scale), fit }, lab)
      },
      [Symbol.asyncDispose]: () => functions[Symbol.asyncDispose](),
    }
  },
})
