import { VarveError } from 'varve'
import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { completionScripts, shells } from '../completion/scripts.js'

export const command: Command = {
  usage: 'usage: varve completion bash|zsh|fish',
  options: {},
  help: `
Prints a script for your shell, which completes verbs, options and their values, tags, machines and
working sets. It asks the installed command, so it need not be made again after an update.

  bash       source it in ~/.bashrc; the package bash-completion makes REF:NAME complete too
  zsh        put it as _varve into a folder of $fpath
  fish       put it into ~/.config/fish/completions/varve.fish

Examples:
  varve completion bash > ~/.varve-completion && echo '. ~/.varve-completion' >> ~/.bashrc
  varve completion zsh > "\${fpath[1]}/_varve"
  varve completion fish > ~/.config/fish/completions/varve.fish`,
  run: async (context) => {
    const [name] = positionals(context, ['bash|zsh|fish'])
    const shell = shells.find((it) => it === name)
    if (shell === undefined) throw new VarveError('USAGE', `${name} is none of ${shells.join(', ')}`)
    if (context.json) context.printJson({ shell, script: completionScripts[shell] })
    else context.print(completionScripts[shell].trimEnd())
  },
}
