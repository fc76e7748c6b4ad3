import { connectMachine, type FixUpStep, type PausedMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import {
  fixUpHelp,
  fixUpOptions,
  sameIdentityHelp,
  sameIdentityOption,
  whatToTell,
} from '../fix-up-options.js'
import { guestsFor, hookMsOf, type ReportedHook, reportHooks } from '../hook-options.js'

export const command: Command = {
  usage: 'usage: varve resume NAME... [options]',
  options: { ...fixUpOptions, ...sameIdentityOption },
  help: `
A guest with the agent of @varve/guest then runs its hook resume. A hook that fails is reported, and
the machine runs on.

If such a guest was restored with --paused, and has not run since, it gets an identity of its own,
as from varve restore, and these options apply; if that fails, its machine ends. If you interrupt
that (Ctrl-C), the machine runs on, and the error says that its guest was not told.

${fixUpHelp}
${sameIdentityHelp}

Example:
  varve resume web`,
  run: async (context) => {
    const { signal, values } = context
    const hooks: ReportedHook[] = []
    const fixedUp: Record<string, readonly FixUpStep[]> = {}
    whatToTell(values)
    for (const name of someNames(context)) {
      const machine = await connectMachine(name, { signal })
      if (machine.state !== 'paused')
        throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}, not paused`, {
          remedy: 'varve ps',
        })
      const resumed = await resume(machine, context)
      hooks.push(...resumed.hooks)
      if (resumed.told !== null) fixedUp[name] = resumed.told
    }
    if (context.json) context.printJson({ resumed: context.positionals, hooks, fixedUp })
  },
}

async function resume(
  machine: PausedMachine,
  context: CommandContext,
): Promise<{ readonly hooks: readonly ReportedHook[]; readonly told: readonly FixUpStep[] | null }> {
  const { signal, values } = context
  const nothing = machine.pausedSinceLoad ? values['no-fix-up'] === true : hookMsOf(values) === false
  const without = `${machine.id} is resumed, and not told`
  const guests = nothing ? undefined : await guestsFor(machine.guestAgent, without, context)
  if (guests === undefined) {
    await machine.resume({ signal })
    return { hooks: [], told: null }
  }
  const { hooks, told } = await guests.resumeGuest(machine, {
    identity: values['same-identity'] === true ? 'same' : 'new',
    fixUp: whatToTell(values),
    hookMs: hookMsOf(values),
    signal,
  })
  return { hooks: reportHooks(machine.id, hooks, context), told }
}
