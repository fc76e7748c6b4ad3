import type { FactorValue } from '../experiments/experiment.js'
import { cellKey } from '../experiments/plan.js'
import type { CellRow, ExperimentRows } from '../experiments/rows.js'
import { type Described, describeValues } from '../statistics/describe-values.js'
import { median } from '../statistics/median.js'
import { leastRounds, type PairedRatio, pairedRatio } from '../statistics/paired-ratio.js'
import { type Comparison, type Shown, shownDifferences } from '../statistics/shown-differences.js'

export type CellValues = Readonly<Record<string, FactorValue>>

/** A ratio, and its verdict, judged together with all other ratios of the report. */
export interface Compared extends PairedRatio {
  /** The side for which a difference is shown, at 5 % for all comparisons of the report together. */
  readonly shown: Shown
}

/** One contender in one place: all rounds of a cell. */
export interface Line {
  /** The value of the compared factor; for a line from elsewhere, with where. */
  readonly name: string
  readonly cell: CellValues
  readonly rounds: number
  /** Rounds that failed, or whose answers were wrong. */
  readonly wrong: number
  readonly failure: string | null
  readonly measures: Readonly<Record<string, Described>>
  /** Of the main measure, in the order of rounds. */
  readonly values: readonly number[]
  /** Medians, in the order of the phases. */
  readonly phasesMs: Readonly<Record<string, number>>
  /** Main measure against the experiment's baseline; null for the baseline itself, or without values. */
  readonly ratio: Compared | null
  /** Against the baseline's contender in this place, if that is another cell. */
  readonly ratioHere: Compared | null
  /** It is from another place, for comparison: the baseline, and what only runs there. */
  readonly reference: boolean
  readonly baseline: boolean
}

/** Cells that differ in the compared factor only. */
export interface Place {
  /** Values of the factors that vary; empty if none does. */
  readonly name: string
  readonly values: CellValues
  readonly lines: readonly Line[]
}

export interface Summary {
  readonly factor: string
  readonly measure: string
  /** The baseline's cell, as text: "vanilla, cache warm". */
  readonly baseline: string
  /** Its value of the compared factor: what a place has of its own to compare with. */
  readonly baselineHere: string
  /** Factors with one value only. */
  readonly fixed: CellValues
  readonly places: readonly Place[]
  readonly rounds: number
  /** How many ratios have enough rounds for a verdict: all are judged together. */
  readonly judged: number
  /** All was emulated, and the measure is a time: then counts tell more. */
  readonly emulated: boolean
}

/** Everything that the report says in numbers; failed cells count in `wrong` and nowhere else. */
export function summarise({ header, cells }: ExperimentRows): Summary {
  const { factors, compare } = header
  const measure = compare.measure ?? 'totalMs'
  const groups = new Map<string, CellRow[]>()
  for (const row of cells) {
    const key = cellKey(row.cell)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [row])
    else group.push(row)
  }
  const varying = Object.keys(factors).filter(
    (name) => name !== compare.factor && (factors[name]?.length ?? 0) > 1,
  )
  const fixed = Object.fromEntries(
    Object.entries(factors).flatMap(([name, values]) =>
      name !== compare.factor && values.length === 1 ? [[name, values[0] as FactorValue]] : [],
    ),
  )
  const rowsOf = (cell: CellValues) => groups.get(cellKey(cell)) ?? []
  const comparisons = new ComparisonsOf()
  const line = (rows: readonly CellRow[], place: CellValues, reference: boolean): Line => {
    const cell = rows[0]?.cell ?? {}
    const baseline = { ...cell, ...compare.baseline }
    const here = { ...cell, [compare.factor]: compare.baseline[compare.factor] ?? '' }
    const isBaseline = cellKey(baseline) === cellKey(cell)
    const good = rows.filter((row) => row.failure === undefined)
    const byRound = (of: readonly CellRow[]) =>
      new Map(
        of.flatMap(({ round, measures }) => {
          const value = measures[measure]
          return value === undefined ? [] : [[round, value] as const]
        }),
      )
    const against = (other: CellValues) => {
      const [ours, theirs] = [byRound(good), byRound(rowsOf(other))]
      if (ours.size === 0 || theirs.size === 0) return null
      return comparisons.add(`${cellKey(cell)} ${cellKey(other)}`, { ours, theirs })
    }
    const elsewhere = varying.filter((name) => cell[name] !== place[name])
    return {
      name: [
        String(cell[compare.factor]),
        ...elsewhere.map((name) => `${factorText(name, cell[name] as FactorValue)}`),
      ].join(', '),
      cell,
      rounds: rows.length,
      wrong: rows.filter(({ correct }) => !correct).length,
      failure: rows.find((row) => row.failure !== undefined)?.failure ?? null,
      measures: described(good),
      values: [...byRound(good).values()],
      phasesMs: phaseMedians(good),
      ratio: isBaseline ? null : against(baseline),
      ratioHere:
        cellKey(here) === cellKey(cell) || cellKey(here) === cellKey(baseline) ? null : against(here),
      reference,
      baseline: isBaseline,
    }
  }
  const places = new Map<string, CellRow[][]>()
  const inOrder = [...groups.values()].sort((a, b) => byFactors(factors, a[0]?.cell ?? {}, b[0]?.cell ?? {}))
  for (const rows of inOrder) {
    const key = JSON.stringify(varying.map((name) => rows[0]?.cell[name]))
    places.set(key, [...(places.get(key) ?? []), rows])
  }
  const built = [...places.values()].map((groupsHere) => {
    const first = groupsHere[0]?.[0]?.cell ?? {}
    const values = Object.fromEntries(varying.map((name) => [name, first[name] as FactorValue]))
    const home = { ...values, ...compare.baseline }
    const isHome = varying.every((name) => home[name] === values[name])
    const names = new Set(groupsHere.map((rows) => rows[0]?.cell[compare.factor]))
    const guests = isHome
      ? []
      : inOrder.filter((rows) => {
          const cell = rows[0]?.cell ?? {}
          const contender = cell[compare.factor]
          return (
            varying.every((name) => cell[name] === home[name]) &&
            (contender === compare.baseline[compare.factor] || !names.has(contender))
          )
        })
    return {
      name: varying.map((name) => factorText(name, values[name] as FactorValue)).join(', '),
      values,
      lines: [
        ...guests.map((rows) => line(rows, values, true)),
        ...groupsHere.map((rows) => line(rows, values, false)),
      ],
    }
  })
  return {
    factor: compare.factor,
    measure,
    baseline: Object.entries(compare.baseline)
      .map(([name, value]) => (name === compare.factor ? String(value) : factorText(name, value)))
      .join(', '),
    baselineHere: String(compare.baseline[compare.factor] ?? ''),
    fixed,
    emulated: header.environment.accelerator === 'tcg' && measure.endsWith('Ms'),
    rounds: Math.max(0, ...cells.map(({ round }) => round)),
    // After all lines are made: each verdict depends on how many there are.
    judged: comparisons.judge(),
    places: built,
  }
}

/** The comparisons that a report shows, each once, and the verdicts on all of them. */
class ComparisonsOf {
  readonly #all = new Map<
    string,
    { readonly of: Comparison; readonly compared: Compared & { shown: Shown } }
  >()

  /** `shown` is set by `judge`. */
  add(key: string, of: Comparison): Compared {
    const there = this.#all.get(key)
    if (there !== undefined) return there.compared
    const compared = { ...pairedRatio(of.ours, of.theirs), shown: null }
    this.#all.set(key, { of, compared })
    return compared
  }

  /** Gives how many there are to judge. */
  judge(): number {
    const enough = [...this.#all.values()].filter(({ compared }) => compared.rounds >= leastRounds)
    const shown = shownDifferences(enough.map(({ of }) => of))
    for (const [index, { compared }] of enough.entries()) compared.shown = shown[index] ?? null
    return enough.length
  }
}

/** "cache cold", "set 24 MiB": the unit is the end of the name. */
export function factorText(name: string, value: FactorValue): string {
  const unit = /(Mib|Kib|Ms|Pages)$/.exec(name)?.[1]
  const words = (unit === undefined ? name : name.slice(0, -unit.length))
    .replace(/(?<=[a-z0-9])[A-Z]/g, (it) => ` ${it.toLowerCase()}`)
    .trim()
  const units: Readonly<Record<string, string>> = { Mib: ' MiB', Kib: ' KiB', Ms: ' ms', Pages: ' pages' }
  return `${words} ${String(value)}${unit === undefined ? '' : units[unit]}`
}

/** In the order of the factors' values. */
function byFactors(factors: ExperimentRows['header']['factors'], a: CellValues, b: CellValues): number {
  for (const [name, values] of Object.entries(factors)) {
    const difference = values.indexOf(a[name] ?? '') - values.indexOf(b[name] ?? '')
    if (difference !== 0) return difference
  }
  return 0
}

function described(rows: readonly CellRow[]): Record<string, Described> {
  const names = new Set(rows.flatMap(({ measures }) => Object.keys(measures)))
  return Object.fromEntries(
    [...names].flatMap((name) => {
      const found = describeValues(rows.flatMap(({ measures }) => measures[name] ?? []))
      return found === undefined ? [] : [[name, found]]
    }),
  )
}

function phaseMedians(rows: readonly CellRow[]): Record<string, number> {
  const names = new Set(rows.flatMap(({ phasesMs }) => Object.keys(phasesMs)))
  return Object.fromEntries(
    [...names].map((name) => [name, median(rows.flatMap(({ phasesMs }) => phasesMs[name] ?? []))]),
  )
}
