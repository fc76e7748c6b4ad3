import { VarveError } from 'varve'
import type { Command } from '../command.js'
import { agentIn } from '../guest.js'
import { chosenCommand, guestCommandHelp, guestCommandOptions, wantsTty } from '../guest-command-options.js'
import { runInGuest } from '../run-in-guest.js'

export const command: Command = {
  usage: 'usage: varve exec NAME [options] -- COMMAND [ARG...]',
  options: guestCommandOptions,
  help: `
Runs a command in a guest that has the agent of @varve/guest. It is connected to the command's
standard input, output and error, and ends with its exit status: 128 plus the signal's number if a
signal ended the command, 124 after --timeout. If varve exec itself ends, the agent kills the
command with its process group. --json prints status and output as one document.

${guestCommandHelp}

Examples:
  varve exec web -- uname -a
  varve exec web -- sh
  tar c site | varve exec web --cwd /srv -- tar x`,
  run: async (context) => {
    const { values, signal, positionals } = context
    const [name, ...argv] = positionals
    if (name === undefined || argv.length === 0)
      throw new VarveError('USAGE', 'expected NAME -- COMMAND', { remedy: 'varve help exec' })
    const options = { ...chosenCommand(values), signal }
    const agent = await agentIn(name, signal)
    if (!context.json) return runInGuest(agent, argv, process, { ...options, tty: wantsTty(values) })
    const { stdout, stderr, ...result } = await agent.exec(argv, options)
    context.printJson({ ...result, stdout: stdout.toString(), stderr: stderr.toString() })
    return 0
  },
}
