import {
  type FixUpStep,
  isVarveError,
  type PausedMachine,
  type RunningMachine,
  throwIfAborted,
  VarveError,
} from 'varve'
import { FirstAbort } from 'varve/testing'
import type { Step } from '../agent/agent-call.js'
import { guestAgent } from '../agent/guest-agent.js'
import { defaultHookMs, type HookName, type HookResult } from '../agent/hooks.js'

/** Of what runs hooks of a guest at a turn of its life. */
export interface HookOptions {
  /**
   * How long the programs of a hook may take together, 1,000 to 60,000 ms; false: run none. Default:
   * 10,000.
   */
  readonly hookMs?: number | false | undefined
  readonly signal?: AbortSignal | undefined
}

/** What came of a hook whose failure stops nothing. */
export interface HookOutcome {
  readonly hook: HookName
  /** From the request to the guest's answer. */
  readonly ms: number
  /** The programs that were run, with the time that each took; none if the guest has none for this hook. */
  readonly programs: readonly Step[]
  /** Why it failed: GUEST_REFUSED, TIMEOUT, GUEST_LOST or GUEST_PROTOCOL; null if it did not. */
  readonly error: VarveError | null
}

/**
 * A guest that runs answers sooner, and its VMM too; one that hangs must not keep its machine from being
 * stopped for long.
 */
const connectMs = 5_000

/**
 * Runs a hook of a guest that has the agent and runs; otherwise it does nothing, at no cost if the guest has
 * no agent. A failure is in the outcome. It throws only INTERRUPTED, or the reason, if `signal` is aborted,
 * and INVALID_ARGUMENT (`hookMs`).
 */
export async function runLifecycleHook(
  machine: RunningMachine | PausedMachine,
  hook: HookName,
  options: HookOptions = {},
): Promise<readonly HookOutcome[]> {
  const { signal } = options
  if (machine.guestAgent === null || options.hookMs === false) return []
  const begin = performance.now()
  const outcome = (programs: readonly Step[], error: VarveError | null) => [
    { hook, ms: performance.now() - begin, programs, error },
  ]
  try {
    if (!(await runs(machine, signal))) return []
    return outcome((await called(machine, hook, options)).steps, null)
  } catch (error) {
    if (signal?.aborted || !isVarveError(error) || isVarveError(error, 'INVALID_ARGUMENT')) throw error
    return outcome([], error)
  }
}

/** The same for a guest that is not ready before; if the hook fails, this throws. Its programs as steps. */
export async function hookSteps(
  machine: RunningMachine,
  hook: HookName,
  options: HookOptions,
): Promise<FixUpStep[]> {
  if (options.hookMs === false) return []
  const { steps } = await called(machine, hook, options)
  return steps.map(({ name, ms }) => ({ name: name === hook ? hook : `${hook}/${name}`, ms }))
}

function called(
  machine: RunningMachine | PausedMachine,
  hook: HookName,
  { hookMs, signal }: HookOptions,
): Promise<HookResult> {
  return guestAgent(machine).hook(hook, { timeoutMs: hookMs || defaultHookMs, connectMs, signal })
}

/** False also if the VMM has ended: the agent of such a machine would be tried again and again. */
async function runs(
  machine: RunningMachine | PausedMachine,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  using limit = new FirstAbort([signal, AbortSignal.timeout(connectMs)])
  try {
    return (await machine.info({ signal: limit.signal })).state === 'Running'
  } catch (cause) {
    const work = `the wait for an answer of the VMM of ${machine.id}`
    throwIfAborted(signal, work)
    if (!limit.signal.aborted) return false
    throw new VarveError('TIMEOUT', `${work} lasted ${connectMs} ms`, { cause })
  }
}
