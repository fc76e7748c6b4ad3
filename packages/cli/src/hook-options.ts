import type { HookOutcome } from '@varve/guest'
import { type GuestAgentPlace, isVarveError, VarveError } from 'varve'
import { integerOption } from './arguments.js'
import type { CommandContext, OptionTable, OptionValues } from './command.js'
import { loadGuest } from './guest.js'

/** Of verbs at whose turns a guest's hooks run. */
export const hookOptions = {
  'no-hooks': { type: 'boolean' },
  'hook-timeout': { type: 'string' },
} as const satisfies OptionTable

export const hookHelp = `  --no-hooks             run no hooks of the guest
  --hook-timeout SECONDS how long the programs of a hook may take together, 1 to 60 (default 10)`

/** USAGE for what is no such time. */
export function hookMsOf(values: OptionValues): number | false | undefined {
  const seconds = integerOption(values, 'hook-timeout')
  if (seconds !== undefined && (seconds < 1 || seconds > 60))
    throw new VarveError('USAGE', `--hook-timeout ${seconds} is not from 1 to 60 seconds`)
  if (values['no-hooks'] === true) return false
  return seconds === undefined ? undefined : seconds * 1000
}

type Guests = typeof import('@varve/guest')

/**
 * The package that talks to the agent of such a guest. Undefined if the guest has none, or if the package is
 * not installed, which is said: `without` names what is left out.
 */
export async function guestsFor(
  guestAgent: GuestAgentPlace | null | undefined,
  without: string,
  { say }: Pick<CommandContext, 'say'>,
): Promise<Guests | undefined> {
  if (guestAgent == null) return undefined
  try {
    return await loadGuest()
  } catch (error) {
    if (!isVarveError(error, 'HOST_UNSUPPORTED')) throw error
    say(`${without}: ${error.message}; ${error.remedy}`)
    return undefined
  }
}

/** The same for a machine whose hooks are run; undefined, and nothing is said, if they are not asked for. */
export async function hooksOf(
  { id, guestAgent }: { readonly id: string; readonly guestAgent: GuestAgentPlace | null },
  context: CommandContext,
): Promise<{ readonly guests: Guests; readonly hookMs: number | undefined } | undefined> {
  const hookMs = hookMsOf(context.values)
  if (hookMs === false) return undefined
  const guests = await guestsFor(guestAgent, `the hooks of ${id} are not run`, context)
  return guests && { guests, hookMs }
}

/** An outcome as `--json` prints it. */
export interface ReportedHook extends Omit<HookOutcome, 'error'> {
  readonly machine: string
  readonly error: { readonly code: string; readonly message: string } | null
}

/** Says which hooks failed, and gives all as `--json` prints them. */
export function reportHooks(
  machine: string,
  hooks: readonly HookOutcome[],
  { say }: Pick<CommandContext, 'say'>,
): ReportedHook[] {
  for (const { hook, error } of hooks)
    if (error !== null) say(`${machine}: its hook ${hook} failed: ${error.message} [${error.code}]`)
  return hooks.map(({ error, ...it }) => ({
    machine,
    ...it,
    error: error && { code: error.code, message: error.message },
  }))
}
