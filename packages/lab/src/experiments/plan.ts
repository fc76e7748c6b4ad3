import { createHash } from 'node:crypto'
import { VarveError } from 'varve'
import { seededRandom, shuffled } from '../statistics/random.js'
import type { Cell, Experiment, Factors } from './experiment.js'

export const planLimits = { factors: 16, values: 256, cells: 100_000, rounds: 100_000 } as const
const names = { experiment: /^[a-z0-9-]{1,64}$/, factor: /^[a-zA-Z][a-zA-Z0-9 -]{0,63}$/ } as const

/** What is measured, in which order. Pure: the same experiment has the same plan anywhere. */
export interface Plan {
  readonly factors: Factors
  readonly cells: readonly Cell[]
  readonly seed: number
  /** Of all that decides the cells and their order; the number of rounds does not. */
  readonly digest: string
  /** The cells of a round, from 1 on, in its order. */
  round(round: number): readonly Cell[]
}

/** Values of some factors: the rest of an experiment is left out. */
export type Selection = Readonly<Record<string, readonly string[]>>

export const cellKey = (cell: Cell): string => JSON.stringify(Object.values(cell))

/** INVALID_ARGUMENT for an experiment that cannot be run, or a selection that names nothing. */
export function planOf(experiment: Experiment, only: Selection = {}): Plan {
  const { name, compare, seed = 1 } = experiment
  const invalid = (detail: string) => new VarveError('INVALID_ARGUMENT', `experiment ${name}: ${detail}`)
  if (!names.experiment.test(name)) throw invalid(`its name is not ${names.experiment}`)
  const factors = selected(experiment, only, invalid)
  const cells = product(factors, invalid).filter((cell) => experiment.where?.(cell) ?? true)
  if (cells.length === 0) throw invalid('no cell is left')
  if (!Object.hasOwn(factors, compare.factor)) throw invalid(`it has no factor ${compare.factor} to compare`)
  for (const [factor, value] of Object.entries(compare.baseline))
    if (!experiment.factors[factor]?.includes(value as never))
      throw invalid(`its baseline names ${factor} ${String(value)}, which is none of its values`)
  const digest = createHash('sha256')
    .update(JSON.stringify([name, seed, factors, cells.map((cell) => Object.values(cell))]))
    .digest('hex')
  // Who begins a round finds the caches as the last round left them: each cell does
  // so once before any does twice.
  const firsts = shuffled(cells, seededRandom(seed))
  return {
    factors,
    cells,
    seed,
    digest,
    round: (round) => {
      const first = firsts[(round - 1) % firsts.length] as Cell
      // Each round has an order of its own, so that no cell always follows the same one.
      const random = seededRandom(seed + 0x9e3779b9 * round)
      return [
        first,
        ...shuffled(
          cells.filter((it) => it !== first),
          random,
        ),
      ]
    },
  }
}

/** The chosen values; those of the baseline stay, as there would be nothing to hold the others against. */
function selected(
  { factors, compare }: Experiment,
  only: Selection,
  invalid: (detail: string) => Error,
): Factors {
  for (const [factor, values] of Object.entries(only)) {
    const known = Object.hasOwn(factors, factor) ? factors[factor] : undefined
    if (known === undefined)
      throw invalid(`it has no factor ${factor}; it has ${Object.keys(factors).join(', ')}`)
    for (const value of values)
      if (!known.some((it) => String(it) === value))
        throw invalid(`${factor} ${value} is none of ${known.join(', ')}`)
  }
  return Object.fromEntries(
    Object.entries(factors).map(([factor, values]) => {
      const chosen = Object.hasOwn(only, factor) ? only[factor] : undefined
      const kept = compare.baseline[factor]
      return [
        factor,
        chosen === undefined ? values : values.filter((it) => chosen.includes(String(it)) || it === kept),
      ]
    }),
  )
}

function product(factors: Factors, invalid: (detail: string) => Error): Cell[] {
  const entries = Object.entries(factors)
  if (entries.length === 0 || entries.length > planLimits.factors)
    throw invalid(`it has ${entries.length} factors, not 1 to ${planLimits.factors}`)
  let cells: Cell[] = [{}]
  for (const [factor, values] of entries) {
    if (!names.factor.test(factor)) throw invalid(`factor ${JSON.stringify(factor)} is not ${names.factor}`)
    if (values.length === 0 || values.length > planLimits.values || new Set(values).size !== values.length)
      throw invalid(`factor ${factor} does not have 1 to ${planLimits.values} different values`)
    if (cells.length * values.length > planLimits.cells)
      throw invalid(`it has more than ${planLimits.cells} cells`)
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [factor]: value })))
  }
  return cells
}
