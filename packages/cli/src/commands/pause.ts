import { connectMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command } from '../command.js'
import { hookHelp, hookOptions, hooksOf, type ReportedHook, reportHooks } from '../hook-options.js'

export const command: Command = {
  usage: 'usage: varve pause NAME... [--no-hooks] [--hook-timeout SECONDS]',
  options: hookOptions,
  help: `
${hookHelp}

A guest with the agent of @varve/guest runs its hook suspend before. A hook that fails is reported,
and the machine is paused.

Example:
  varve pause web`,
  run: async (context) => {
    const { signal } = context
    const hooks: ReportedHook[] = []
    for (const name of someNames(context)) {
      const machine = await connectMachine(name, { signal })
      if (machine.state !== 'running')
        throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}, not running`, {
          remedy: 'varve ps',
        })
      const asked = await hooksOf(machine, context)
      if (asked === undefined) await machine.pause({ signal })
      else {
        const paused = await asked.guests.pauseGuest(machine, { hookMs: asked.hookMs, signal })
        hooks.push(...reportHooks(name, paused.hooks, context))
      }
    }
    if (context.json) context.printJson({ paused: context.positionals, hooks })
  },
}
