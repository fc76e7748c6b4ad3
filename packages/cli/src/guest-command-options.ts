import type { CommandOptions } from '@varve/guest'
import { VarveError } from 'varve'
import { integerOption, listOption, stringOption } from './arguments.js'
import type { OptionTable, OptionValues } from './command.js'

/** Of verbs that run a command in a guest. */
export const guestCommandOptions = {
  env: { type: 'string', multiple: true, short: 'e' },
  cwd: { type: 'string', short: 'w' },
  user: { type: 'string', short: 'u' },
  timeout: { type: 'string' },
  tty: { type: 'boolean', short: 't' },
  'no-tty': { type: 'boolean', short: 'T' },
} as const satisfies OptionTable

export const guestCommandHelp = `  -e, --env NAME=VALUE   a variable for the command, repeatable
  -w, --cwd DIR          the folder that the command starts in (default: the image's, or /)
  -u, --user USER        NAME, UID, NAME:GROUP or UID:GID (default: the image's, or root)
  --timeout SECONDS      kill the command after this time
  -t, --tty              run the command on a terminal; the default if standard input and output are
                         a terminal
  -T, --no-tty           never run it on a terminal`

/** USAGE for what is not as the help shows it. */
export function chosenCommand(values: OptionValues): Omit<CommandOptions, 'tty' | 'signal'> {
  const seconds = integerOption(values, 'timeout')
  return {
    env: variables(listOption(values, 'env')),
    ...definedOf({ cwd: stringOption(values, 'cwd'), user: stringOption(values, 'user') }),
    ...(seconds === undefined ? {} : { timeoutMs: seconds * 1000 }),
  }
}

/** Whether the command gets a terminal. */
export function wantsTty(values: OptionValues): boolean {
  const { stdin, stdout } = process
  return values['no-tty'] !== true && (values.tty === true || (stdin.isTTY && stdout.isTTY))
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
