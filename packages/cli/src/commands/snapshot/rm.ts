import { VarveError } from 'varve'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { shortId } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot rm REF...',
  options: storeOption,
  help: `
Takes all tags of the snapshots away. The next varve gc removes them and what only they need; what
other snapshots or running machines need stays. Snapshots taken on top of them stay whole. Until
that gc, varve snapshot tag ID TAG takes it back. To remove one name of several: varve snapshot tag
--remove.

Example:
  varve snapshot rm monday && varve gc`,
  run: async (context) => {
    const refs = context.positionals
    if (refs.length === 0) throw new VarveError('USAGE', 'expected at least one REF')
    const store = await openStore(context)
    // All are looked up first: a name that is wrong should not be found out half-way.
    const entries = []
    for (const ref of refs) entries.push(await store.resolve(ref))
    for (const { id } of entries) await store.remove(id)
    if (context.json) return context.printJson({ removed: entries.map(({ id, tags }) => ({ id, tags })) })
    for (const { id, tags } of entries) context.print(`${shortId(id)}  ${tags.join(', ') || '-'}`)
    context.say('varve gc frees what nothing else needs')
  },
}
