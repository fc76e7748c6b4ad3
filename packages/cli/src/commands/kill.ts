import type { Command } from '../command.js'
import { command as stop } from './stop.js'

export const command: Command = {
  usage: 'usage: varve kill NAME... | varve kill --all',
  options: stop.options,
  help: `
  --all    every machine of this runtime directory

Another word for varve stop, which kills, too: only machines of this runtime directory, by name, and
only the process that was started for it, however often its pid was given again.

Example:
  varve kill web`,
  run: stop.run,
}
