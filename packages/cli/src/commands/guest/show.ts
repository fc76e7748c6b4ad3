import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadGuest } from '../../guest.js'
import { guestJson, kernelText } from '../../render-guest.js'
import { humanBytes, printable, table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve guest show NAME [--json]',
  options: {},
  help: `
Shows one guest: its image, the files that it boots from, and the image's settings for running it.

Examples:
  varve guest show py
  varve guest show py --json`,
  run: async (context) => {
    const [name] = positionals(context, ['NAME'])
    const { openGuest } = await loadGuest()
    const guest = await openGuest(name)
    if (context.json) return context.printJson(guestJson(guest))
    const { source, rootDisk, initrd, config, bootArgs, createdAt, files } = guest
    const { sizeBytes, dataBytes, inodes } = rootDisk
    const words = (list: readonly string[]) =>
      printable(list.map((it) => JSON.stringify(it)).join(' ')) || '-'
    context.print(
      table([
        ['name', guest.name],
        ['image', printable(source.reference)],
        ['digest', source.digest],
        ['built', createdAt],
        ['root disk', `${humanBytes(sizeBytes)} with ${humanBytes(dataBytes)} in ${inodes} files`],
        ['', files.rootDisk],
        ['kernel', kernelText(guest)],
        ['', files.kernel],
        ['initrd', humanBytes(initrd.sizeBytes)],
        ['', files.initrd],
        ['boot args', bootArgs],
        ['entry point', words(config.entrypoint)],
        ['command', words(config.cmd)],
        ['folder', printable(config.workingDir)],
        ['user', printable(config.user) || 'root'],
        ['environment', words(config.env)],
      ]),
    )
  },
}
