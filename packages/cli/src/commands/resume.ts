import { connectMachine, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command } from '../command.js'

export const command: Command = {
  usage: 'usage: varve resume NAME...',
  options: {},
  help: `
Example:
  varve resume web`,
  run: async (context) => {
    const { signal } = context
    for (const name of someNames(context)) {
      const machine = await connectMachine(name, { signal })
      if (machine.state !== 'paused')
        throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}, not paused`, {
          remedy: 'varve ps',
        })
      await machine.resume({ signal })
    }
    if (context.json) context.printJson({ resumed: context.positionals })
  },
}
