import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadGuest } from '../../guest.js'
import { guestJson, kernelText } from '../../render-guest.js'
import { age, cut, humanBytes, printable, table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve guest ls [--json]',
  options: {},
  help: `
Lists the guests of this host. SIZE is the size of the root disk, DATA that of the files in it.

Examples:
  varve guest ls
  varve guest ls --json`,
  run: async (context) => {
    positionals(context, [])
    const { listGuests } = await loadGuest()
    const guests = await listGuests()
    if (context.json) return context.printJson({ guests: guests.map(guestJson) })
    if (guests.length === 0) return context.say('no guests; varve guest build makes one')
    context.print(
      table(
        [
          ['NAME', 'IMAGE', 'KERNEL', 'SIZE', 'DATA', 'AGE'],
          ...guests.map((guest) => [
            guest.name,
            cut(printable(guest.source.reference), 40),
            kernelText(guest),
            humanBytes(guest.rootDisk.sizeBytes),
            humanBytes(guest.rootDisk.dataBytes),
            age(guest.createdAt),
          ]),
        ],
        { right: [3, 4, 5] },
      ),
    )
  },
}
