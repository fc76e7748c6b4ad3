import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkHost, findFirecracker, VarveError } from 'varve'
import { nativeLinuxBoots } from '../linux/native-linux.js'
import type { Experiment } from './experiment.js'
import type { FoundExperiment } from './find-experiment.js'
import type { Selection } from './plan.js'
import type { Row } from './rows.js'
import { RowsFile } from './rows-file.js'
import { type RunMessage, runCells } from './run-cells.js'
import { runInNestedLab } from './run-nested.js'

export interface RunExperimentOptions {
  /** Where rows.jsonl goes, and goes on. Made if it is not there. */
  readonly directory: string
  /** Default the experiment's. */
  readonly rounds?: number
  readonly only?: Selection
  /** Default: where the experiment's guest runs. */
  readonly lab?: 'native' | 'nested'
  readonly signal?: AbortSignal | undefined
  readonly onMessage?: (message: Exclude<RunMessage, Row>) => void
}

/**
 * Runs an experiment, or goes on with one that was interrupted, and gives the path of its rows. However it
 * ends, what is finished is kept and nothing is left running. Errors: ALREADY_EXISTS (rows of another plan or
 * environment are there), INVALID_ARGUMENT, INTERRUPTED, and those of the lab.
 */
export async function runExperiment(
  found: FoundExperiment,
  options: RunExperimentOptions,
): Promise<{ readonly rowsPath: string; readonly lab: 'native' | 'nested' }> {
  const { experiment } = found
  const { onMessage = () => {}, signal = new AbortController().signal, only = {} } = options
  const directory = resolve(options.directory)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const rowsPath = join(directory, 'rows.jsonl')
  await using rows = await RowsFile.open(rowsPath)
  const say = (text: string) => onMessage({ kind: 'say', text })
  const lab = options.lab ?? (await usualLab(experiment.guest, say, signal))
  const common = {
    rounds: options.rounds ?? roundsIn(lab, experiment),
    only,
    done: new Set(rows.done),
    signal,
    emit: async (message: RunMessage) => {
      if (message.kind === 'experiment') await rows.begin(message)
      else if (message.kind === 'say' || message.kind === 'progress') onMessage(message)
      else await rows.add(message)
    },
  }
  if (lab === 'native') await runCells(experiment, { ...common, lab: { kind: 'native' } })
  else await runInNestedLab(found, common)
  return { rowsPath, lab }
}

async function usualLab(
  guest: 'micro' | 'linux',
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<'native' | 'nested'> {
  const kvm = (await checkHost()).find(({ id }) => id === 'kvm')
  if (kvm?.status === 'lack') return 'nested'
  if (guest === 'micro') return 'native'
  const binary = await findFirecracker({ signal, onProgress: say })
  return (await nativeLinuxBoots({ binary, signal, onProgress: say })) ? 'native' : 'nested'
}

export const roundsIn = (lab: 'native' | 'nested', { rounds }: Pick<Experiment, 'rounds'>): number =>
  typeof rounds === 'number' ? rounds : rounds[lab]

/** A whole number of rounds that a person gave. */
export function checkedRounds(rounds: number): number {
  if (Number.isInteger(rounds) && rounds >= 1 && rounds <= 100_000) return rounds
  throw new VarveError('INVALID_ARGUMENT', `${rounds} rounds: from 1 to 100,000`)
}
