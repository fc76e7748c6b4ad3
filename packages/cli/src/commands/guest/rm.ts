import { VarveError } from 'varve'
import type { Command } from '../../command.js'
import { loadGuest } from '../../guest.js'

export const command: Command = {
  usage: 'usage: varve guest rm NAME...',
  options: {},
  help: `
Removes guests, and immediately also the files that no other guest needs. Machines that were booted
from these guests, and snapshots of such machines, are not affected: each has its own root disk.

Example:
  varve guest rm py`,
  run: async (context) => {
    const names = context.positionals
    if (names.length === 0)
      throw new VarveError('USAGE', 'expected at least one NAME', { remedy: 'varve guest ls lists them' })
    const { removeGuests } = await loadGuest()
    await removeGuests(names, { signal: context.signal })
    if (context.json) context.printJson({ removed: names })
  },
}
