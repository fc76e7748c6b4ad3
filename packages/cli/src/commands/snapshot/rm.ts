import { VarveError } from 'varve'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { shortId } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot rm REF...',
  options: storeOption,
  help: `
Removes all tags of the snapshots. The next varve gc removes the snapshots, and the files that only
they need. What other snapshots or running machines need stays. Children of the snapshots stay
whole. Until that gc, varve snapshot tag ID TAG undoes the removal. To remove one name of several,
use varve snapshot tag --remove.

Example:
  varve snapshot rm monday && varve gc`,
  run: async (context) => {
    const refs = context.positionals
    if (refs.length === 0) throw new VarveError('USAGE', 'expected at least one REF')
    const store = await openStore(context)
    // All are looked up first: a name that is wrong should not be found out half-way.
    const entries = []
    for (const ref of refs) entries.push(await store.resolve(ref))
    for (const { id } of entries) await store.removeSnapshot(id)
    if (context.json) return context.printJson({ removed: entries.map(({ id, tags }) => ({ id, tags })) })
    for (const { id, tags } of entries) context.print(`${shortId(id)}  ${tags.join(', ') || '-'}`)
    context.say('varve gc frees what nothing else needs')
  },
}
