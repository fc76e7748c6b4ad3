import {
  type CloneOptions,
  type Clones,
  cloneMachines,
  type LiveCloneOptions,
  type LiveClones,
  type PausedMachine,
  type RunningMachine,
  type SnapshotStore,
} from 'varve'
import type { FixUp } from '../agent/fix-up.js'
import { type RestoredGuest, restoredGuest } from './guest.js'
import type { HookOptions, HookOutcome } from './lifecycle-hook.js'
import { type FixUpOfEach, newIdentity } from './new-identity.js'
import { whileSuspended } from './while-suspended.js'

interface TellClones extends Pick<HookOptions, 'hookMs'> {
  /** What each guest is told besides, or instead: see `newIdentity`. */
  readonly fixUp?: FixUp | FixUpOfEach | undefined
}

export interface CloneGuestsOptions extends Omit<CloneOptions, 'fixUp' | 'resume'>, TellClones {}
export interface LiveCloneGuestsOptions
  extends Omit<LiveCloneOptions, 'fixUp' | 'resume' | 'onTaken'>,
    TellClones {}

/** Those that live, in their order. Disposing of them stops all that were not detached. */
export type GuestClones = readonly RestoredGuest[] & AsyncDisposable & Pick<Clones<RunningMachine>, 'failed'>

/** Clones of a guest that runs on. */
export type LiveGuestClones = GuestClones &
  Pick<LiveClones<RunningMachine>, 'standstillMs' | 'takenMs' | 'way' | 'sealed'> & {
    /** Of the guest that was cloned: `suspend`, and `resume` once it ran on. */
    readonly hooks: readonly HookOutcome[]
  }

/**
 * `cloneMachines` for guests with the agent: each clone gets an identity of its own, as `restoreGuest` gives
 * it. A running guest that is cloned has its hook `suspend` run before, and `resume` when it runs on.
 */
export function cloneGuests(
  store: SnapshotStore,
  ref: string,
  count: number,
  options?: CloneGuestsOptions,
): Promise<GuestClones>
export function cloneGuests(
  machine: RunningMachine | PausedMachine,
  count: number,
  options: LiveCloneGuestsOptions,
): Promise<LiveGuestClones>
export async function cloneGuests(
  from: SnapshotStore | RunningMachine | PausedMachine,
  refOrCount: string | number,
  countOrOptions?: number | LiveCloneGuestsOptions,
  options: CloneGuestsOptions = {},
): Promise<GuestClones> {
  if (typeof refOrCount === 'string') {
    const { fixUp, hookMs, ...own } = options
    const tell = newIdentity(fixUp, { hookMs })
    const count = countOrOptions as number
    return asGuests(
      await cloneMachines(from as SnapshotStore, refOrCount, count, { ...own, fixUp: tell }),
      {},
    )
  }
  const machine = from as RunningMachine | PausedMachine
  const { fixUp, hookMs, ...own } = countOrOptions as LiveCloneGuestsOptions
  const tell = newIdentity(fixUp, { hookMs })
  const { value, hooks } = await whileSuspended(machine, { hookMs, signal: own.signal }, (onTaken) =>
    cloneMachines(machine, refOrCount, { ...own, fixUp: tell, onTaken }),
  )
  return asGuests(value, { hooks })
}

/** What the list of clones says of itself stays, and stays hidden. */
function asGuests(clones: Clones<RunningMachine>, more: object): GuestClones {
  const guests = clones.map(restoredGuest)
  const dispose = async () => {
    await using _clones = clones
    await Promise.allSettled(guests.map((guest) => guest[Symbol.asyncDispose]()))
  }
  const { failed, sealed, standstillMs, takenMs, way } = clones as Partial<LiveClones<RunningMachine>>
  const about = { failed, sealed, standstillMs, takenMs, way, ...more }
  for (const [name, value] of Object.entries(about)) Object.defineProperty(guests, name, { value })
  return Object.defineProperty(guests, Symbol.asyncDispose, { value: dispose }) as never
}
