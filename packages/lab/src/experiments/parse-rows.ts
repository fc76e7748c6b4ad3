import { VarveError } from 'varve'
import type { FactorValue } from './experiment.js'
import { checkedExplanation, type ExplanationRow } from './explanation-row.js'
import { planLimits } from './plan.js'
import type { CellRow, ExperimentRows, HeaderRow, SetRow } from './rows.js'

export const rowsLimits = {
  fileBytes: 2 ** 28,
  lines: 1_000_000,
  lineBytes: 32 * 2 ** 20,
  text: 4096,
  entries: 64,
  sets: 4096,
  runs: 2 ** 22,
} as const

/** Rows of a file, and how many of its bytes are whole lines: what lies behind was cut by a crash. */
export interface ParsedRows extends ExperimentRows {
  readonly wholeBytes: number
}

/** Reads a file that may come from anywhere. `name` is for messages. FORMAT_INVALID, FORMAT_UNSUPPORTED. */
export function parseRows(bytes: Buffer, name: string): ParsedRows {
  if (bytes.length > rowsLimits.fileBytes)
    throw new VarveError('FORMAT_INVALID', `${name} has more than ${rowsLimits.fileBytes} bytes`)
  let header: HeaderRow | undefined
  const cells: CellRow[] = []
  const sets: SetRow[] = []
  const explanations: ExplanationRow[] = []
  let at = 0
  for (let number = 1; ; number++) {
    const end = bytes.indexOf(0x0a, at)
    if (end < 0) break
    const line = new LineReader(name, number)
    if (number > rowsLimits.lines) throw line.invalid(`there are more than ${rowsLimits.lines} lines`)
    const value = line.object(bytes.subarray(at, end))
    at = end + 1
    if (number === 1) header = line.header(value)
    // Of another run, and perhaps of another machine or disk.
    else if (value.kind === 'experiment')
      throw line.invalid('it is a second header; a file holds the rows of one run')
    else if (value.kind === 'cell') cells.push(line.cell(value, header as HeaderRow))
    else if (value.kind === 'set') {
      if (sets.length >= rowsLimits.sets) throw line.invalid(`there are more than ${rowsLimits.sets} sets`)
      sets.push(line.set(value))
    } else if (value.kind === 'explanation') {
      if (explanations.length >= rowsLimits.sets)
        throw line.invalid(`there are more than ${rowsLimits.sets} explanations`)
      explanations.push(line.explanation(value))
    }
  }
  if (header === undefined)
    throw new VarveError('FORMAT_INVALID', `${name} has no whole line: it is not a file of experiment rows`)
  return { header, cells, sets, explanations, wholeBytes: at }
}

type Members = Readonly<Record<string, unknown>>

/** Checks the members of one line; what it gives has the fields of its row and no others. */
class LineReader {
  readonly #name: string
  readonly #number: number

  constructor(name: string, number: number) {
    this.#name = name
    this.#number = number
  }

  invalid(detail: string, cause?: unknown): VarveError {
    return new VarveError('FORMAT_INVALID', `${this.#name}, line ${this.#number}: ${detail}`, { cause })
  }

  object(bytes: Buffer): Members {
    if (bytes.length > rowsLimits.lineBytes)
      throw this.invalid(`it is longer than ${rowsLimits.lineBytes} bytes`)
    let value: unknown
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch (cause) {
      throw this.invalid('it is not JSON', cause)
    }
    return this.#members(value, 'it')
  }

  header(value: Members): HeaderRow {
    if (value.kind !== 'experiment') throw this.invalid('it is not the first line of experiment rows')
    const { version } = value
    if (typeof version === 'number' && version > 1)
      throw new VarveError(
        'FORMAT_UNSUPPORTED',
        `${this.#name} has format version ${version}; this Varve knows 1`,
      )
    if (version !== 1) throw this.invalid('its version is not 1')
    const plan = this.#text(value.plan, 'plan')
    if (!/^[0-9a-f]{64}$/.test(plan)) throw this.invalid('its plan is not 64 hex digits')
    const experiment = this.#text(value.experiment, 'experiment')
    if (!/^[a-z0-9-]{1,64}$/.test(experiment)) throw this.invalid('its experiment is not a name')
    const factors = this.#entries(value.factors, 'factors', planLimits.factors, (values, factor) => {
      if (!Array.isArray(values) || values.length < 1 || values.length > planLimits.values)
        throw this.invalid(`factor ${factor} is not a list of 1 to ${planLimits.values} values`)
      return values.map((it) => this.#factorValue(it, factor))
    })
    const compare = this.#members(value.compare, 'compare')
    const factor = this.#text(compare.factor, 'compare.factor')
    if (!Object.hasOwn(factors, factor)) throw this.invalid(`it compares ${factor}, which is not a factor`)
    return {
      kind: 'experiment',
      version,
      experiment,
      question: this.#text(value.question, 'question'),
      startedAt: this.#text(value.startedAt, 'startedAt'),
      seed: this.#finite(value.seed, 'seed'),
      plan,
      factors,
      compare: {
        factor,
        baseline: this.#values(compare.baseline, 'compare.baseline'),
        ...(compare.measure === undefined ? {} : { measure: this.#text(compare.measure, 'compare.measure') }),
      },
      environment: this.#entries(value.environment, 'environment', rowsLimits.entries, (it, name) =>
        this.#text(it, `environment.${name}`),
      ),
    }
  }

  cell(value: Members, { factors }: HeaderRow): CellRow {
    const cell = this.#values(value.cell, 'cell')
    const names = Object.keys(factors)
    if (Object.keys(cell).length !== names.length || !names.every((it) => Object.hasOwn(cell, it)))
      throw this.invalid('its cell does not have exactly the factors of the header')
    if (typeof value.correct !== 'boolean') throw this.invalid('correct is not true or false')
    return {
      kind: 'cell',
      round: this.#whole(value.round, 'round'),
      // In the header's order, so that cells can be compared as text.
      cell: Object.fromEntries(names.map((it) => [it, cell[it] as FactorValue])),
      at: this.#whole(value.at, 'at'),
      tookMs: this.#finite(value.tookMs, 'tookMs'),
      ...(value.load === undefined ? {} : { load: this.#finite(value.load, 'load') }),
      correct: value.correct,
      ...(value.failure === undefined ? {} : { failure: this.#text(value.failure, 'failure') }),
      measures: this.#numbers(value.measures, 'measures'),
      phasesMs: this.#numbers(value.phasesMs, 'phasesMs'),
    }
  }

  set(value: Members): SetRow {
    const { workingSet, zero } = value
    if (typeof workingSet !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(workingSet))
      throw this.invalid('workingSet is not base64')
    if (!Array.isArray(zero) || zero.length > rowsLimits.runs)
      throw this.invalid('zero is not a list of runs')
    let end = -1
    for (const run of zero as readonly unknown[]) {
      const [start, count] = Array.isArray(run) && run.length === 2 ? (run as unknown[]) : []
      if (!isWhole(start) || !isWhole(count) || start <= end || count < 1 || start + count >= 2 ** 32 - 1)
        throw this.invalid('zero is not a list of ascending, separate runs of pages')
      end = start + count
    }
    return {
      kind: 'set',
      name: this.#setName(value.name),
      about: this.#values(value.about, 'about'),
      workingSet,
      zero: zero as [number, number][],
    }
  }

  explanation({ name, about, explanation }: Members): ExplanationRow {
    return {
      kind: 'explanation',
      name: this.#setName(name),
      about: this.#values(about, 'about'),
      explanation: checkedExplanation(explanation, (detail) => this.invalid(detail)),
    }
  }

  #setName(value: unknown): string {
    const name = this.#text(value, 'name')
    if (name.length > 128) throw this.invalid('name has more than 128 characters')
    return name
  }

  #members(value: unknown, what: string): Members {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.invalid(`${what} is not an object`)
    return value as Members
  }

  #text(value: unknown, what: string): string {
    if (typeof value !== 'string' || value.length > rowsLimits.text)
      throw this.invalid(`${what} is not a text of at most ${rowsLimits.text} characters`)
    return value
  }

  #finite(value: unknown, what: string): number {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.invalid(`${what} is not a number`)
    return value
  }

  #whole(value: unknown, what: string): number {
    if (!isWhole(value)) throw this.invalid(`${what} is not a whole number`)
    return value
  }

  #factorValue(value: unknown, what: string): FactorValue {
    if (typeof value === 'boolean') return value
    return typeof value === 'number' ? this.#finite(value, what) : this.#text(value, what)
  }

  #entries<T>(
    value: unknown,
    what: string,
    most: number,
    read: (value: unknown, name: string) => T,
  ): Record<string, T> {
    const entries = Object.entries(this.#members(value, what))
    if (entries.length > most) throw this.invalid(`${what} has more than ${most} members`)
    return Object.fromEntries(
      entries.map(([name, it]) => {
        if (name.length > 64 || name === '__proto__') throw this.invalid(`${what} has a member of a bad name`)
        return [name, read(it, name)]
      }),
    )
  }

  readonly #values = (value: unknown, what: string) =>
    this.#entries(value, what, planLimits.factors, (it, name) => this.#factorValue(it, `${what}.${name}`))

  readonly #numbers = (value: unknown, what: string) =>
    this.#entries(value, what, rowsLimits.entries, (it, name) => this.#finite(it, `${what}.${name}`))
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
