import { connectMachine, listMachines, type MachineRecord, stopMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import { hookHelp, hookOptions, hooksOf, type ReportedHook, reportHooks } from '../hook-options.js'

export const command: Command = {
  usage: 'usage: varve stop NAME... | varve stop --all [--no-hooks] [--hook-timeout SECONDS]',
  options: { all: { type: 'boolean' }, ...hookOptions },
  help: `
  --all                  every machine of this runtime directory
${hookHelp}

A running guest with the agent of @varve/guest runs its hook terminate first; one that fails is
reported, and the machine ends. stop then kills the VMM without asking its guest, and removes its
sockets, logs, private copies of disks and record. Only the process that was started for the machine
is ended, never another one that has its pid by now. The page server ends some seconds after its
last machine.

Examples:
  varve stop web
  varve stop --all`,
  run: async (context) => {
    const { signal, values } = context
    if (values.all === true && context.positionals.length > 0)
      throw new VarveError('USAGE', 'give names or --all, not both')
    const records = listMachines().map(({ record }) => record)
    const names = values.all === true ? records.map(({ id }) => id) : someNames(context)
    const named = names.flatMap((name) => records.filter(({ id }) => id === name))
    const hooks = (await Promise.all(named.map((record) => terminate(record, context)))).flat()
    for (const name of names) await stopMachine(name, { signal })
    if (context.json) context.printJson({ stopped: names, hooks })
  },
}

/** A VMM that hangs never answers. */
const connectMs = 5_000

/** Has the guest run its hook; a machine that does not answer is stopped all the same. */
async function terminate(record: MachineRecord, context: CommandContext): Promise<readonly ReportedHook[]> {
  const { signal, say } = context
  const { id } = record
  const asked = await hooksOf(record, context)
  if (asked === undefined) return []
  const { runLifecycleHook } = asked.guests
  const limit = AbortSignal.any([signal, AbortSignal.timeout(connectMs)])
  const machine = await connectMachine(id, { signal: limit }).catch((error: Error) =>
    say(`${id} is stopped without its hook terminate: ${error.message}`),
  )
  if (!machine || machine.state === 'launched') return []
  const hooks = await runLifecycleHook(machine, 'terminate', { hookMs: asked.hookMs, signal })
  return reportHooks(id, hooks, context)
}
