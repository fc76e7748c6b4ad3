import { type FixUpStep, isVarveError, type PausedMachine, type RunningMachine, VarveError } from 'varve'
import { assertFixUp, type FixUp } from '../agent/fix-up.js'
import { assertHookMs } from '../agent/hooks.js'
import { type HookOptions, type HookOutcome, runLifecycleHook } from './lifecycle-hook.js'
import { type FixUpOfEach, newIdentity, sameIdentity } from './new-identity.js'

/** A guest that was paused or resumed. */
export interface TurnedGuest<Machine> {
  /** The handle to go on with. */
  readonly machine: Machine
  readonly hooks: readonly HookOutcome[]
}

/**
 * Runs the guest's hook `suspend` and pauses its machine, whatever comes of the hook. If the machine is not
 * paused after all, because `signal` was aborted for example, the guest's hook `resume` is run.
 */
export async function pauseGuest(
  machine: RunningMachine,
  options: HookOptions = {},
): Promise<TurnedGuest<PausedMachine>> {
  try {
    const hooks = await runLifecycleHook(machine, 'suspend', options)
    return { machine: await machine.pause({ signal: options.signal }), hooks }
  } catch (error) {
    await runLifecycleHook(machine, 'resume', { hookMs: options.hookMs }).catch(() => {})
    throw error
  }
}

export interface ResumeGuestOptions extends HookOptions {
  /** Of a guest that has not run since it was restored: as in `restoreGuest`. Default: `new`. */
  readonly identity?: 'new' | 'same' | undefined
  /** Of such a guest: what it is told besides. */
  readonly fixUp?: FixUp | FixUpOfEach | undefined
}

/** A guest that runs again. */
export interface ResumedGuest extends TurnedGuest<RunningMachine> {
  /** What a guest was told that had not run since it was restored; null for others. */
  readonly told: readonly FixUpStep[] | null
}

/**
 * Resumes a machine and runs its guest's hook `resume`. A guest with the agent that was restored paused is
 * fixed up first, as `restoreGuest` does; if that fails, the machine ends and the error is thrown. If
 * `signal` is aborted, the machine stays, and the error says whether it runs without having been told.
 * INVALID_ARGUMENT leaves it paused, unless a function `fixUp` throws it.
 */
export async function resumeGuest(
  machine: PausedMachine,
  { identity = 'new', fixUp, ...options }: ResumeGuestOptions = {},
): Promise<ResumedGuest> {
  const { signal, hookMs } = options
  if (typeof fixUp === 'object') assertFixUp(fixUp)
  if (typeof hookMs === 'number') assertHookMs(hookMs)
  const isNew = machine.guestAgent !== null && machine.pausedSinceLoad
  const running = await machine.resume({ signal })
  if (!isNew)
    return { machine: running, hooks: await runLifecycleHook(running, 'resume', options), told: null }
  try {
    const tell = identity === 'new' ? newIdentity : sameIdentity
    const told = await tell(fixUp, { hookMs })(running, { clone: null, signal })
    return { machine: running, hooks: [], told }
  } catch (error) {
    // The guest has not failed, and a machine's memory is no price for a Ctrl-C.
    if (signal?.aborted || isVarveError(error, 'INVALID_ARGUMENT')) throw notTold(machine.id, error)
    await running.stop()
    throw error
  }
}

function notTold(id: string, cause: unknown): unknown {
  if (!isVarveError(cause)) return cause
  const message = `${id} runs, but its guest was not told all that makes it one of its own: ${cause.message}`
  return new VarveError(cause.code, message, {
    cause,
    details: cause.details,
    remedy: `stop ${id} and restore its snapshot again, or tell the guest by a program: newIdentity of @varve/guest`,
  })
}
