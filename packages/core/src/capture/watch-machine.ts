import { setTimeout as sleep } from 'node:timers/promises'
import { isVarveError, VarveError } from '../errors.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { SnapshotEntry } from '../store/snapshot-types.js'
import { squashSnapshot } from '../store/squash-snapshot.js'
import type { CapturedSnapshot, TakeOptions } from './capture-types.js'
import { captureSnapshot } from './take-snapshot.js'
import { timeTag } from './time-tag.js'

/** Options of `watchMachine`. */
export interface WatchOptions
  extends Pick<TakeOptions, 'store' | 'mode' | 'freeze' | 'mostCopiedBytes' | 'labels'> {
  /** From the begin of one capture to the begin of the next, milliseconds; 100 or more. */
  readonly everyMs: number
  /** How many snapshots of this watch stay, 1 or more. Default 20. */
  readonly keep?: number | undefined
  /** Takes one of its snapshots. Default: `captureSnapshot`; `@varve/guest` has one that runs hooks. */
  readonly capture?: typeof captureSnapshot | undefined
  /** Ends the watch. A capture that is on its way is dropped. */
  readonly signal?: AbortSignal | undefined
}

/** One turn of a watch. */
export interface WatchTurn {
  /** Null if the capture failed. */
  readonly captured: CapturedSnapshot | null
  /**
   * Why the capture failed, or what is old was not removed; null if all went well. The next turn tries again.
   */
  readonly error: VarveError | null
  /** How long the turn took, until all of it was in the store, milliseconds. */
  readonly turnMs: number
  /** How many turns were left out since the last one, because that took longer than the period. */
  readonly missed: number
  /** Snapshots whose tags were removed because newer ones are kept. */
  readonly removed: readonly SnapshotEntry[]
}

/** The label of snapshots that a watch has taken: the machine's name. */
const watchLabel = 'watch'

/**
 * Captures a machine again and again, and keeps the last snapshots. Layers that are older than all of these
 * are squashed into one, once there are as many of them as snapshots are kept, and gc runs. A watch that is
 * begun again goes on with the snapshots of the last one. It ends when `signal` is aborted, without an error,
 * or with MACHINE_EXITED.
 *
 * @example
 * for await (const { captured, missed } of watchMachine(machine, { store, everyMs: 30_000 }))
 *   console.log(captured?.entry.tags, missed)
 */
export async function* watchMachine(
  machine: RunningMachine | PausedMachine,
  { everyMs, keep = 20, signal, ...options }: WatchOptions,
): AsyncGenerator<WatchTurn, void, void> {
  if (!Number.isFinite(everyMs) || everyMs < 100 || everyMs > 2 ** 31 - 1)
    throw new VarveError('INVALID_ARGUMENT', `everyMs ${everyMs} is not a time from 100 ms to 24 days`)
  if (!Number.isInteger(keep) || keep < 1 || keep > 512)
    throw new VarveError('INVALID_ARGUMENT', `keep ${keep} is not a whole number from 1 to 512`)
  const begin = performance.now()
  const isOver = () => signal?.aborted === true
  for (let turn = 0; !isOver(); ) {
    const start = performance.now()
    const done = await oneTurn(machine, keep, signal, options)
    if (isOver()) return
    const next = Math.max(turn + 1, Math.ceil((performance.now() - begin) / everyMs))
    const missed = next - turn - 1
    turn = next
    yield { ...done, turnMs: performance.now() - start, missed }
    await pause(begin + turn * everyMs - performance.now(), signal)
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => {})
}

async function oneTurn(
  machine: RunningMachine | PausedMachine,
  keep: number,
  signal: AbortSignal | undefined,
  {
    store,
    labels = {},
    capture = captureSnapshot,
    ...how
  }: Omit<WatchOptions, 'everyMs' | 'keep' | 'signal'>,
): Promise<Pick<WatchTurn, 'captured' | 'error' | 'removed'>> {
  let captured: CapturedSnapshot | null = null
  let removed: readonly SnapshotEntry[] = []
  try {
    const own = { ...labels, [watchLabel]: machine.id }
    const tags = [timeTag(machine.id, await store.list())]
    captured = await capture(machine, { store, ...how, labels: own, tags, signal })
    removed = await forgetOld(store, machine.id, keep, signal)
    return { captured, error: null, removed }
  } catch (error) {
    if (!isVarveError(error) || isVarveError(error, 'MACHINE_EXITED') || isVarveError(error, 'MACHINE_STATE'))
      throw error
    return { captured, error, removed }
  }
}

/**
 * Removes the tags of all but the last snapshots, and has the layers below these squashed when there are
 * many.
 */
async function forgetOld(
  store: SnapshotStore,
  machine: string,
  keep: number,
  signal: AbortSignal | undefined,
): Promise<readonly SnapshotEntry[]> {
  const taken = await store.list({ labels: { [watchLabel]: machine } })
  const tagged = taken
    .filter(({ tags }) => tags.length > 0)
    .toSorted((a, b) => a.createdAt.localeCompare(b.createdAt))
  const old = tagged.slice(0, -keep)
  for (const { id } of old) await store.removeSnapshot(id)
  const oldest = tagged.slice(-keep)[0]
  const newest = tagged.at(-1)
  if (oldest === undefined || newest === undefined) return old
  const depth = (await store.describe(oldest.id)).layers.length
  if (depth <= keep) return old
  await squashSnapshot(store, newest.id, { upTo: oldest.id, all: true, signal })
  await store.gc({ signal })
  return old
}
