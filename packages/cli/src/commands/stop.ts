import { listMachines, stopMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command } from '../command.js'

export const command: Command = {
  usage: 'usage: varve stop NAME... | varve stop --all',
  options: { all: { type: 'boolean' } },
  help: `
  --all    every machine of this runtime directory

Kills the VMM without asking its guest, and removes its sockets, logs, private copies of disks and
record. Only the process that was started for the machine is ended, never another one that has its
pid by now. The page server ends some seconds after its last machine.

Examples:
  varve stop web
  varve stop --all`,
  run: async (context) => {
    const { signal, values } = context
    if (values.all === true && context.positionals.length > 0)
      throw new VarveError('USAGE', 'give names or --all, not both')
    const names = values.all === true ? listMachines().map(({ record }) => record.id) : someNames(context)
    for (const name of names) await stopMachine(name, { signal })
    if (context.json) context.printJson({ stopped: names })
  },
}
