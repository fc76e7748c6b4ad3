import { type RestoreOptions, restoreMachine, type SnapshotStore } from 'varve'
import type { FixUp } from '../agent/fix-up.js'
import { type RestoredGuest, restoredGuest } from './guest.js'
import type { HookOptions } from './lifecycle-hook.js'
import { type FixUpOfEach, newIdentity, sameIdentity } from './new-identity.js'

export interface RestoreGuestOptions
  extends Omit<RestoreOptions, 'fixUp' | 'resume'>,
    Pick<HookOptions, 'hookMs'> {
  /**
   * `new` (default): the guest gets a machine id of its own and its machine's name as host name, and runs its
   * hook `run`. `same`: it keeps both, and runs `resume`: only for a machine that goes on, and runs nowhere
   * else. Time and entropy are new in either case.
   */
  readonly identity?: 'new' | 'same' | undefined
  /** What the guest is told besides, or instead: see `newIdentity`. */
  readonly fixUp?: FixUp | FixUpOfEach | undefined
}

/**
 * Restores a snapshot of a guest with the agent, and tells the guest who it is: see `RestoreGuestOptions`.
 * It is ready when the guest has acknowledged all of it, its hook included; if a step fails, the machine ends
 * and the error is thrown. Errors: those of `restoreMachine`, GUEST_REFUSED, TIMEOUT, GUEST_LOST,
 * GUEST_PROTOCOL.
 */
export async function restoreGuest(
  store: SnapshotStore,
  ref: string,
  { identity = 'new', fixUp, hookMs, ...options }: RestoreGuestOptions = {},
): Promise<RestoredGuest> {
  const tell = identity === 'new' ? newIdentity : sameIdentity
  return restoredGuest(await restoreMachine(store, ref, { ...options, fixUp: tell(fixUp, { hookMs }) }))
}
