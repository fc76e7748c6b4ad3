import { setTimeout as sleep } from 'node:timers/promises'
import type { CapturedSnapshot, CaptureWay, TakeOptions } from '../capture/capture-types.js'
import type { FrozenClonable } from '../capture/open-frozen.js'
import type { TakenForClones } from '../capture/seal-taken.js'
import { takeForClones } from '../capture/take-snapshot.js'
import type { VarveError } from '../errors.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { copiedBytesOf, tooManyCopies } from '../memory/frozen-copies.js'
import { replaceFrozen } from '../page-server/client/page-server-client.js'
import { type RestoreFrozenOptions, restoreFrozen } from '../restore/restore-frozen.js'
import { assertFixable } from '../restore/restore-options.js'
import type { Restored } from '../restore/restored.js'
import type { SnapshotEntry } from '../store/snapshot-types.js'
import { isEnding } from '../sys/proc.js'
import type { OnCloneFailure } from './clones.js'
import { asClones, assertCounts, type Clones, type FailedClone, inOrder, makeClones } from './clones.js'
import { LaunchesAhead } from './launches-ahead.js'
import { type EachClone, ownOptions } from './own-options.js'

/** Options of `cloneMachines` of a machine. */
export interface LiveCloneOptions
  extends Omit<RestoreFrozenOptions, 'name'>,
    Pick<TakeOptions, 'store' | 'tags' | 'mostCopiedBytes'> {
  /** The clones become NAME-1, NAME-2, … Default: random names. */
  readonly name?: string | undefined
  /** How many restores run at a time. Default 4. */
  readonly parallel?: number | undefined
  /** What differs between clones: a tap device of its own, say. Wins over the other options. */
  readonly each?: EachClone | undefined
  /** Called as soon as the machine that is cloned runs on, before a clone is loaded. */
  readonly onTaken?: (() => void) | undefined
  /** Called as soon as a clone is made; those that are not made yet come later. */
  readonly onClone?: ((clone: Restored<RunningMachine | PausedMachine>, number: number) => void) | undefined
  /**
   * If one cannot be made: `keep` (default) the others, as the moment at which the machine was cloned does
   * not come back; or `stop` all and throw.
   */
  readonly onFailure?: OnCloneFailure | undefined
}

/** Clones of a machine that runs on. */
export type LiveClones<Machine> = Clones<Machine> & {
  /** How long the machine that was cloned stood still, milliseconds; null if it was paused before. */
  readonly standstillMs: number | null
  /** From the call until that machine ran on, milliseconds. */
  readonly takenMs: number
  /** How its memory was taken. */
  readonly way: CaptureWay
  /**
   * Resolves with the snapshot that the clones came from, once it is sealed and they are served from it: from
   * then on they need neither this process nor its memory. Until then they end with this process. A clone
   * that could not be served from it joins `failed`. If sealing fails, all clones end, with the reason.
   */
  readonly sealed: Promise<CapturedSnapshot>
}

type Clone = Restored<RunningMachine | PausedMachine>

export async function cloneLive(
  machine: RunningMachine | PausedMachine,
  count: number,
  {
    store,
    tags = [],
    mostCopiedBytes,
    parallel,
    each,
    onTaken,
    onClone,
    onFailure = 'keep',
    ...options
  }: LiveCloneOptions,
): Promise<LiveClones<RunningMachine | PausedMachine>> {
  const begin = performance.now()
  assertCounts(count, parallel)
  assertFixable(options)
  const { onProgress } = options
  const limit = new CopyLimit(options.signal)
  const { signal } = limit
  const ownOf = (number: number) => ownOptions(number, { ...options, signal }, each)
  const ahead = new LaunchesAhead(machine, { count, parallel, onFailure }, ownOf)
  let taken: TakenForClones | undefined
  let frozen: FrozenClonable | undefined
  try {
    taken = await takeForClones(machine, {
      ...{ store, tags, mostCopiedBytes, signal },
      mode: 'live',
      freeze: 'fork',
      ready: ahead.ready(signal),
    })
    const { standstillMs, way } = taken
    const takenMs = performance.now() - begin
    onTaken?.()
    const open = await taken.openFrozen({ signal })
    frozen = open
    limit.watch(open)
    const how = { parallel, onFailure, onProgress, firstAlone: true }
    const { made, failed } = await makeClones(count, how, async (number) => {
      const clone = await restoreFrozen(open, ahead.take(number), ownOf(number))
      onClone?.(clone, number)
      return clone
    })
    if (limit.exceeded !== undefined) {
      for (const { machine: clone } of made.values()) await clone.stop()
      throw limit.exceeded
    }
    // Behind the clones: nothing that they need comes later for it.
    const sealed = sealBehind(taken, open, { made, failed, limit, store, tags, onProgress })
    sealed.catch(() => {})
    return asClones(inOrder(made), failed, { standstillMs, takenMs, way, sealed }, () =>
      sealed.catch(() => {}),
    )
  } catch (error) {
    limit.end()
    await ahead[Symbol.asyncDispose]()
    await frozen?.[Symbol.asyncDispose]()
    await taken?.[Symbol.asyncDispose]()
    throw limit.exceeded ?? error
  }
}

interface Behind extends Pick<LiveCloneOptions, 'store' | 'tags' | 'onProgress'> {
  readonly made: ReadonlyMap<number, Clone>
  readonly failed: FailedClone[]
  readonly limit: CopyLimit
}

/**
 * Sealing keeps a CPU and the disk busy. A guest that was just loaded needs some 100 ms of both until it
 * answers (docs/results/live-clones.md).
 */
const firstAnswersMs = 250

async function sealBehind(
  taken: TakenForClones,
  frozen: FrozenClonable,
  behind: Behind,
): Promise<CapturedSnapshot> {
  const { limit, tags, onProgress } = behind
  try {
    await using _frozen = frozen
    // If the caller aborts meanwhile, sealing says so.
    await sleep(firstAnswersMs, undefined, { signal: limit.signal }).catch(() => {})
    const onLayers = (entry: SnapshotEntry) => serveFromLayers(entry, behind)
    return await taken.sealBefore(onLayers, { tags, signal: limit.signal, onProgress })
  } catch (error) {
    throw limit.exceeded ?? error
  } finally {
    limit.end()
  }
}

/** Has each clone leased to the snapshot first, then served from its layers. */
async function serveFromLayers(entry: SnapshotEntry, { store, made, failed }: Behind): Promise<void> {
  await using snapshot = await store.open(entry.id)
  const layers = snapshot.files.map(({ path, storedPages }) => ({ path, pages: storedPages }))
  for (const [number, { machine }] of made) {
    if (isEnding(machine.identity)) continue
    try {
      machine.holdLoadedSnapshot(entry.id, await snapshot.leaseTo(machine.holder))
      await replaceFrozen(machine.paths.directory, { layers, map: snapshot.map })
    } catch (error) {
      // One that was stopped meanwhile has not failed.
      if (!isEnding(machine.identity)) failed.push({ number, error })
    }
  }
}

/** The walk through the page tables of 2 GiB takes some 20 ms. */
const lookEveryMs = 1000

/** Ends the work if copies of frozen memory take too much. */
class CopyLimit {
  readonly #controller = new AbortController()
  readonly signal: AbortSignal
  /** Why the work was ended. */
  exceeded: VarveError | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(signal: AbortSignal | undefined) {
    const own = this.#controller.signal
    this.signal = signal === undefined ? own : AbortSignal.any([signal, own])
  }

  watch({ frozen: { process }, mostCopiedBytes }: FrozenClonable): void {
    this.#timer = setInterval(() => {
      const remedy = 'clone when the guest writes less, or give the host more memory'
      this.exceeded = tooManyCopies(process, copiedBytesOf(process.pid) ?? 0, mostCopiedBytes, remedy)
      if (this.exceeded === undefined) return
      this.end()
      this.#controller.abort()
    }, lookEveryMs)
    this.#timer.unref()
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
