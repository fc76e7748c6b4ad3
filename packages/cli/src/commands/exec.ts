import { VarveError } from 'varve'
import { integerOption, listOption, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { agentIn } from '../guest.js'
import { runInGuest } from '../run-in-guest.js'

export const command: Command = {
  usage: 'usage: varve exec NAME [options] -- COMMAND [ARG...]',
  options: {
    env: { type: 'string', multiple: true, short: 'e' },
    cwd: { type: 'string', short: 'w' },
    user: { type: 'string', short: 'u' },
    timeout: { type: 'string' },
    tty: { type: 'boolean', short: 't' },
    'no-tty': { type: 'boolean', short: 'T' },
  },
  help: `
Runs a command in a guest that has the agent of @varve/guest. Standard input, output and error are
the command's; so is the exit status: 128 and the signal's number if a signal ended it, 124 after
--timeout. If this command ends, the one in the guest is killed, with its process group. --json
prints status and output as one document.

  -e, --env NAME=VALUE   a variable for the command, repeatable
  -w, --cwd DIR          the folder that it starts in (default /)
  -u, --user USER        NAME, UID, NAME:GROUP or UID:GID (default root)
  --timeout SECONDS      kill it after so long
  -t, --tty              run it on a terminal; default if standard input and output are one
  -T, --no-tty           never

Examples:
  varve exec web -- uname -a
  varve exec web -- sh
  tar c site | varve exec web --cwd /srv -- tar x`,
  run: async (context) => {
    const { values, signal, positionals } = context
    const [name, ...argv] = positionals
    if (name === undefined || argv.length === 0)
      throw new VarveError('USAGE', 'expected NAME -- COMMAND', { remedy: 'varve help exec' })
    const seconds = integerOption(values, 'timeout')
    const options = {
      env: variables(listOption(values, 'env')),
      ...definedOf({ cwd: stringOption(values, 'cwd'), user: stringOption(values, 'user') }),
      ...(seconds === undefined ? {} : { timeoutMs: seconds * 1000 }),
      signal,
    }
    const agent = await agentIn(name, signal)
    if (context.json) {
      const { stdout, stderr, ...result } = await agent.exec(argv, options)
      context.printJson({ ...result, stdout: stdout.toString(), stderr: stderr.toString() })
      return 0
    }
    const { stdin, stdout } = process
    const tty = values['no-tty'] !== true && (values.tty === true || (stdin.isTTY && stdout.isTTY))
    return runInGuest(agent, argv, process, { ...options, tty })
  },
}

function variables(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw new VarveError('USAGE', `--env ${text} is not NAME=VALUE`)
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

const definedOf = <T extends Readonly<Record<string, string | undefined>>>(options: T) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    readonly [Key in keyof T]?: string
  }
