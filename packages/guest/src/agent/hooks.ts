import { VarveError } from 'varve'
import { AgentCall, type Step } from './agent-call.js'
import { tag } from './bounds.js'
import type { AgentAddress } from './dial.js'
import { collect } from './run-command.js'

/** When the guest's own programs in /etc/varve/hooks.d are run. */
export type HookName = 'run' | 'resume' | 'suspend' | 'terminate'

export interface HookResult {
  /** The programs that were run, and how long each took; none if the guest has none for this hook. */
  readonly steps: readonly Step[]
  readonly stdout: Buffer
  readonly stderr: Buffer
}

export const defaultHookMs = 10_000
const maxOutputBytes = 64 * 1024
const graceMs = 5_000

/** INVALID_ARGUMENT for a time limit that no hook can have. */
export function assertHookMs(timeoutMs: number): void {
  if (!(timeoutMs >= 1_000 && timeoutMs <= 60_000))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `timeoutMs of a hook is ${timeoutMs}; it must be from 1,000 to 60,000`,
    )
}

/**
 * Runs a hook and waits until its programs have ended. Errors: GUEST_REFUSED if one fails (its name and
 * status are in the message), TIMEOUT after `timeoutMs` (1,000 to 60,000, for all of them), GUEST_LOST.
 */
export async function runHook(
  address: AgentAddress,
  name: HookName,
  options: {
    readonly timeoutMs?: number
    /** For connecting alone. Default: 30 s. */
    readonly connectMs?: number
    readonly signal?: AbortSignal | undefined
  } = {},
): Promise<HookResult> {
  const { timeoutMs = defaultHookMs, connectMs, signal } = options
  assertHookMs(timeoutMs)
  const fields = [[tag.name, name] as const, [tag.timeout, Math.round(timeoutMs)] as const]
  using call = await AgentCall.open(address, 'hook', fields, {
    what: `hook ${name}`,
    signal,
    timeoutMs: timeoutMs + graceMs,
    connectMs,
    streams: [1, 2],
  })
  const [stdout, stderr] = await Promise.all([
    collect(call.output, maxOutputBytes, `the output of hook ${name}`),
    collect(call.errorOutput, maxOutputBytes, `the errors of hook ${name}`),
    call.result,
  ])
  return { steps: call.steps, stdout, stderr }
}
