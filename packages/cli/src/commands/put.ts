import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { pathError, VarveError } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { agentIn } from '../guest.js'
import { humanBytes } from '../text.js'

export const command: Command = {
  usage: 'usage: varve put NAME FILE GUEST-PATH',
  options: { user: { type: 'string', short: 'u' }, mode: { type: 'string' } },
  help: `
Writes a file into a guest that has the agent of @varve/guest: the whole file, or nothing. If FILE
is -, reads standard input. If GUEST-PATH ends with /, it is a folder, and the file keeps its name.

  --mode OCTAL       permissions (default: those of FILE; 644 for standard input)
  -u, --user USER    the guest's user that writes and owns the file: NAME, UID, NAME:GROUP or
                     UID:GID (default root)

Examples:
  varve put web app.py /srv/
  tar c site | varve put web - /tmp/site.tar`,
  run: async (context) => {
    const { values, signal } = context
    const [name, file, target] = positionals(context, ['NAME', 'FILE', 'GUEST-PATH'])
    const isInput = file === '-'
    if (target.endsWith('/') && isInput)
      throw new VarveError('USAGE', 'standard input has no name: give the path of a file')
    const path = target.endsWith('/') ? `${target}${basename(file)}` : target
    const user = stringOption(values, 'user')
    const mode = octal(stringOption(values, 'mode')) ?? (isInput ? 0o644 : (await regular(file)) & 0o7777)
    const agent = await agentIn(name, signal)
    const bytes = await context.progress(`writing ${path}`, () =>
      agent.put(path, isInput ? process.stdin : createReadStream(file), {
        mode,
        ...(user === undefined ? {} : { user }),
        signal,
      }),
    )
    if (context.json) context.printJson({ path, bytes })
    else context.say(`${path}: ${humanBytes(bytes)}`)
  },
}

async function regular(file: string): Promise<number> {
  const found = await stat(file).catch((cause: NodeJS.ErrnoException) => {
    throw pathError(cause, `cannot read ${file}: ${cause.message}`, { details: { path: file } })
  })
  if (!found.isFile()) throw new VarveError('PATH_INVALID', `${file} is not a regular file`)
  return found.mode
}

function octal(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[0-7]{1,4}$/.test(text)) throw new VarveError('USAGE', `--mode ${text} is not an octal number`)
  return Number.parseInt(text, 8)
}
