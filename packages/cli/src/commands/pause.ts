import { connectMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command } from '../command.js'

export const command: Command = {
  usage: 'usage: varve pause NAME...',
  options: {},
  help: `
Example:
  varve pause web`,
  run: async (context) => {
    const { signal } = context
    for (const name of someNames(context)) {
      const machine = await connectMachine(name, { signal })
      if (machine.state !== 'running')
        throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}, not running`, {
          remedy: 'varve ps',
        })
      await machine.pause({ signal })
    }
    if (context.json) context.printJson({ paused: context.positionals })
  },
}
