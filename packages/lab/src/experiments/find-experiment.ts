import { readdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { notFound, VarveError } from 'varve'
import type { Experiment } from './experiment.js'

export interface FoundExperiment {
  readonly experiment: Experiment
  /** Set for one that does not come with the lab. */
  readonly file?: string
}

/** packages/lab/experiments, built. */
const shipped = fileURLToPath(new URL('../shipped/', import.meta.url))

/** Names of the experiments that come with the lab. */
export function shippedExperiments(): string[] {
  return readdirSync(shipped)
    .filter((name) => name.endsWith('.js'))
    .map((name) => name.slice(0, -'.js'.length))
    .sort()
}

/**
 * By its name, or the path of a file: what has a slash, or ends like a module, is a
 * path. NOT_FOUND, INVALID_ARGUMENT.
 */
export async function findExperiment(nameOrPath: string): Promise<FoundExperiment> {
  if (/\/|\.[mc]?[jt]s$/.test(nameOrPath)) return loadExperimentFile(resolve(nameOrPath))
  const names = shippedExperiments()
  if (!names.includes(nameOrPath))
    throw notFound('experiment', `no experiment is named ${JSON.stringify(nameOrPath)}`, {
      remedy: `one of ${names.join(', ')}, or the path of a file`,
    })
  return { experiment: (await loadExperimentFile(`${shipped}${nameOrPath}.js`)).experiment }
}

/** The `experiment` that a module exports, by that name or as its default. Runs the module's code. */
export async function loadExperimentFile(path: string): Promise<FoundExperiment> {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    throw notFound('file', `${path} is not a file`)
  let module: Readonly<Record<string, unknown>>
  try {
    module = (await import(pathToFileURL(path).href)) as typeof module
  } catch (cause) {
    const unknownExtension = (cause as NodeJS.ErrnoException).code === 'ERR_UNKNOWN_FILE_EXTENSION'
    throw new VarveError('INVALID_ARGUMENT', `cannot load ${path}: ${(cause as Error).message}`, {
      cause,
      ...(unknownExtension
        ? { remedy: 'Node runs TypeScript from 22.18 on; compile it to .js for an older one' }
        : {}),
    })
  }
  const found = module.experiment ?? module.default
  if (!isExperiment(found))
    throw new VarveError('INVALID_ARGUMENT', `${path} does not export an experiment`, {
      remedy: 'export const experiment = defineExperiment({ … })',
    })
  return { experiment: found, file: path }
}

function isExperiment(value: unknown): value is Experiment {
  if (typeof value !== 'object' || value === null) return false
  const { name, question, guest, factors, compare, rounds, prepare } = value as Record<string, unknown>
  return (
    typeof name === 'string' &&
    typeof question === 'string' &&
    (guest === 'micro' || guest === 'linux') &&
    typeof factors === 'object' &&
    factors !== null &&
    Object.values(factors).every(Array.isArray) &&
    typeof compare === 'object' &&
    compare !== null &&
    typeof (compare as Record<string, unknown>).factor === 'string' &&
    typeof (compare as Record<string, unknown>).baseline === 'object' &&
    (Number.isInteger(rounds) || (typeof rounds === 'object' && rounds !== null)) &&
    typeof prepare === 'function'
  )
}
