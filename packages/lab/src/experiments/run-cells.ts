import { AssertionError } from 'node:assert'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { findFirecracker, listMachines, throwIfAborted, VarveError } from 'varve'
import { onProcessEnd } from 'varve/testing'
import { describeEnvironment, type LabKind } from './environment.js'
import type { Cell, Experiment, ExperimentLab, FactorValue, PreparedExperiment } from './experiment.js'
import { explanationRow } from './explanation-row.js'
import { planOf, type Selection } from './plan.js'
import { type CellRow, type HeaderRow, type Row, setRow } from './rows.js'
import { doneKey } from './rows-file.js'

/** What a run says while it runs. Keep the rows; the rest is talk. */
export type RunMessage =
  | Row
  | { readonly kind: 'say'; readonly text: string }
  | {
      readonly kind: 'progress'
      readonly done: number
      readonly total: number
      readonly round: number
      readonly rounds: number
      readonly cell: string
      /** Guessed from the cells so far; null before the first. */
      readonly leftMs: number | null
    }

export interface RunCellsOptions {
  readonly rounds: number
  readonly only?: Selection
  /** `doneKey` of cells that are not measured again. */
  readonly done: ReadonlySet<string>
  readonly lab: LabKind
  readonly signal: AbortSignal
  /** The header comes first. What it throws ends the run. */
  emit(message: RunMessage): Promise<void>
}

/** Measures what is not done yet, here in this process. However it ends, no machine and no file is left. */
export async function runCells(experiment: Experiment, options: RunCellsOptions): Promise<void> {
  const { rounds, only, done, lab: labKind, signal, emit } = options
  const plan = planOf(experiment, only)
  const left = Array.from({ length: rounds }, (_, index) => index + 1).flatMap((round) =>
    plan
      .round(round)
      .map((cell) => ({ round, cell }))
      .filter((it) => !done.has(doneKey(it))),
  )
  const binary = await findFirecracker({ signal })
  // Not os.tmpdir(): on many hosts /tmp is a tmpfs, whose pages are always in the page cache.
  const parent = process.env.TMPDIR ?? '/var/tmp'
  const environment = describeEnvironment(binary, labKind, parent)
  await emit(headerOf(experiment, plan, environment))
  if (left.length === 0) return
  if (environment.dropsCache === 'no')
    await emit({
      kind: 'say',
      text: `${parent} is on ${environment.fileSystem}: its files stay in the page cache, so no cold cell can be measured; set TMPDIR to a directory on a disk`,
    })
  const directory = mkdtempSync(join(parent, 'varve-experiment-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const takeBack = onProcessEnd(remove)
  // Rows in their order, though `say`, `keepSet` and `keepExplanation` do not wait.
  let sending = Promise.resolve()
  const send = (message: RunMessage) => {
    sending = sending.then(() => emit(message))
    // Thrown by `flush`, below.
    sending.catch(() => {})
  }
  const flush = () => sending
  try {
    mkdirSync(join(directory, 'work'), { mode: 0o700 })
    const runtimeDirectory = join(directory, 'run')
    const lab: ExperimentLab = {
      directory: join(directory, 'work'),
      runtimeDirectory,
      binary,
      kind: labKind.kind,
      factors: plan.factors,
      signal,
      say: (text) => send({ kind: 'say', text }),
      keepSet: (name, about, set, zero) => send(setRow(name, about, set, zero)),
      keepExplanation: (name, about, explanation) => send(explanationRow(name, about, explanation)),
    }
    send({ kind: 'say', text: 'preparing' })
    await using prepared = await experiment.prepare(lab)
    const warmUps = plan.cells.filter((cell) => experiment.warmUp?.(cell) ?? false)
    for (const cell of warmUps) {
      throwIfAborted(signal, experiment.name)
      send({ kind: 'say', text: `warming up, ${cellText(cell)}` })
      await measureCell(prepared, cell, 0, signal)
    }
    const start = performance.now()
    for (const [index, { round, cell }] of left.entries()) {
      throwIfAborted(signal, experiment.name)
      send({
        kind: 'progress',
        done: done.size + index,
        total: done.size + left.length,
        round,
        rounds,
        cell: cellText(cell),
        leftMs: index === 0 ? null : ((performance.now() - start) / index) * (left.length - index),
      })
      const row = await measureCell(prepared, cell, round, signal)
      send({ ...row, at: done.size + index })
      await flush()
      const machines = listMachines(runtimeDirectory).map(({ record }) => record.id)
      if (machines.length > 0)
        throw new VarveError('LAB_FAILED', `${cellText(cell)} left machines behind: ${machines.join(', ')}`)
    }
    await flush()
  } catch (error) {
    throwIfAborted(signal, experiment.name)
    throw error
  } finally {
    takeBack()
    remove()
  }
}

export const cellText = (cell: Cell): string => Object.values(cell).map(String).join(' · ')

async function measureCell(
  prepared: PreparedExperiment,
  cell: Cell,
  round: number,
  signal: AbortSignal,
): Promise<CellRow> {
  const start = performance.now()
  const row = { kind: 'cell', round, cell, at: 0, load: rounded(loadavg()[0] ?? 0) } as const
  try {
    const { correct, measures, phasesMs = {} } = await prepared.measure(cell, { round, signal })
    return { ...row, tookMs: since(start), correct, measures: numbers(measures), phasesMs: numbers(phasesMs) }
  } catch (error) {
    throwIfAborted(signal, 'the cell')
    // A mistake in the experiment is no result of it.
    if (!(error instanceof VarveError) && !(error instanceof AssertionError)) throw error
    const failure = `${error instanceof VarveError ? `${error.code}: ` : ''}${error.message}`.slice(0, 2000)
    return { ...row, tookMs: since(start), correct: false, failure, measures: {}, phasesMs: {} }
  }
}

/** Hundredths are below what any of these can tell apart. */
const rounded = (value: number) => Math.round(value * 100) / 100
const since = (start: number) => rounded(performance.now() - start)

function numbers(values: Readonly<Record<string, number | null | undefined>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      typeof value === 'number' && Number.isFinite(value) ? [[name, rounded(value)]] : [],
    ),
  )
}

function headerOf(
  { name, question, compare }: Experiment,
  plan: ReturnType<typeof planOf>,
  environment: Readonly<Record<string, string>>,
): HeaderRow {
  return {
    kind: 'experiment',
    version: 1,
    experiment: name,
    question,
    startedAt: new Date().toISOString(),
    seed: plan.seed,
    plan: plan.digest,
    factors: plan.factors,
    compare: {
      factor: compare.factor,
      baseline: compare.baseline as Readonly<Record<string, FactorValue>>,
      ...(compare.measure === undefined ? {} : { measure: compare.measure }),
    },
    environment,
  }
}
