import { VarveError } from '../errors.js'
import type { Restored } from '../restore/restored.js'

/** More VMM processes than one host should be asked for at once. */
const mostClones = 4096
/** Restores at a time, unless the caller says otherwise. */
export const defaultParallel = 4

/** A clone that could not be made, or that ended because its snapshot could not. */
export interface FailedClone {
  /** From 1 on, as in its name. */
  readonly number: number
  /** Why: a VarveError as a rule. */
  readonly error: unknown
}

/**
 * What came of cloning: those that live, in their order. Disposing of them stops all that were not detached.
 */
export type Clones<Machine> = readonly Restored<Machine>[] &
  AsyncDisposable & {
    /** Those that are not in the list; empty with `onFailure: 'stop'`. */
    readonly failed: readonly FailedClone[]
  }

/** What becomes of the other clones if one cannot be made. */
export type OnCloneFailure = 'stop' | 'keep'

interface MakeOptions {
  readonly parallel?: number | undefined
  readonly onFailure: OnCloneFailure
  /** Whether the others wait until the first is made. */
  readonly firstAlone?: boolean | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/**
 * Makes clones, some at a time. `stop`: if one fails, all are stopped and its error is thrown. `keep`: an
 * error is thrown only if none could be made.
 */
export async function makeClones<Machine extends { stop(): Promise<unknown> }>(
  count: number,
  { parallel = defaultParallel, onFailure, firstAlone = false, onProgress }: MakeOptions,
  make: (number: number) => Promise<Restored<Machine>>,
): Promise<{ readonly made: ReadonlyMap<number, Restored<Machine>>; readonly failed: FailedClone[] }> {
  const made = new Map<number, Restored<Machine>>()
  const failed: FailedClone[] = []
  let begun = 0
  const makeNext = async () => {
    const number = ++begun
    try {
      made.set(number, await make(number))
      onProgress?.(`${made.size} of ${count} ready`)
    } catch (error) {
      failed.push({ number, error })
    }
  }
  const work = async () => {
    while (begun < count && (onFailure === 'keep' || failed.length === 0)) await makeNext()
  }
  if (firstAlone) await makeNext()
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, work))
  const [first] = failed
  if (first === undefined || (onFailure === 'keep' && made.size > 0)) return { made, failed }
  for (const { machine } of made.values()) await machine.stop()
  throw first.error
}

/** Before anything is started: INVALID_ARGUMENT. */
export function assertCounts(count: number, parallel = 1): void {
  for (const [what, value] of [
    ['clones', count],
    ['parallel', parallel],
  ] as const)
    if (!Number.isInteger(value) || value < 1 || value > mostClones)
      throw new VarveError(
        'INVALID_ARGUMENT',
        `${what} ${value} is not a whole number from 1 to ${mostClones}`,
      )
}

export const inOrder = <Machine>(made: ReadonlyMap<number, Restored<Machine>>): Restored<Machine>[] =>
  [...made].sort(([a], [b]) => a - b).map(([, clone]) => clone)

/**
 * The properties are hidden, so that the list stays a list for comparisons and `console.log`. `last` is
 * awaited when all have been stopped.
 */
export function asClones<Machine, More extends object>(
  clones: readonly Restored<Machine>[],
  failed: readonly FailedClone[],
  more: More,
  last: () => Promise<unknown> = async () => {},
): Clones<Machine> & More {
  const dispose = async () => {
    const ended = await Promise.allSettled(clones.map((clone) => clone[Symbol.asyncDispose]()))
    await last()
    const failure = ended.find((it) => it.status === 'rejected')
    if (failure !== undefined) throw failure.reason
  }
  for (const [name, value] of Object.entries({ ...more, failed }))
    Object.defineProperty(clones, name, { value })
  return Object.defineProperty(clones, Symbol.asyncDispose, { value: dispose }) as Clones<Machine> & More
}
