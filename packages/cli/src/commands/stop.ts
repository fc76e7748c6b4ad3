import { connectMachine, listMachines, stopMachine, VarveError } from 'varve'
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
    const names = values.all === true ? listMachines().map(({ record }) => record.id) : someNames(context)
    const hooks = (await Promise.all(names.map((name) => terminate(name, context)))).flat()
    for (const name of names) await stopMachine(name, { signal })
    if (context.json) context.printJson({ stopped: names, hooks })
  },
}

/** Has the guest run its hook; a machine that does not answer is stopped all the same. */
async function terminate(name: string, context: CommandContext): Promise<readonly ReportedHook[]> {
  const { signal } = context
  const record = listMachines().find((it) => it.record.id === name)?.record
  const asked = record && (await hooksOf(record, context))
  if (asked === undefined) return []
  const machine = await connectMachine(name, { signal: AbortSignal.any([signal, connectLimit()]) }).catch(
    () => undefined,
  )
  if (machine?.state !== 'running') return []
  const { runLifecycleHook } = asked.guests
  return reportHooks(
    name,
    await runLifecycleHook(machine, 'terminate', { hookMs: asked.hookMs, signal }),
    context,
  )
}

/** A VMM that hangs answers never. */
const connectLimit = () => AbortSignal.timeout(1000)
