import { assertTag, VarveError } from 'varve'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { movedTags } from '../../tags.js'
import { shortId } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot tag REF TAG... | varve snapshot tag --remove TAG...',
  options: { ...storeOption, remove: { type: 'boolean' } },
  help: `
  TAG       1 to 128 of A-Z a-z 0-9 . _ -, not like an id; if another snapshot has it, it moves here
  --remove  remove these names; the next gc removes a snapshot without names, unless a machine needs
            it

Examples:
  varve snapshot tag web-20260131-120000 golden
  varve snapshot tag --remove monday`,
  run: async (context) => {
    const { positionals, say, values } = context
    const store = await openStore(context)
    if (values.remove === true) {
      if (positionals.length === 0) throw new VarveError('USAGE', 'expected at least one TAG to remove')
      const untagged = []
      for (const tag of positionals) untagged.push({ tag, entry: await store.removeTag(tag) })
      if (context.json)
        return context.printJson({
          removed: untagged.map(({ tag, entry: { id, tags } }) => ({ tag, id, tags })),
        })
      for (const { tag, entry } of untagged)
        context.print(`${tag}  ${shortId(entry.id)}  ${entry.tags.join(', ') || 'no tag left'}`)
      return
    }
    const [ref, ...tags] = positionals
    if (ref === undefined || tags.length === 0)
      throw new VarveError('USAGE', 'expected REF and at least one TAG')
    tags.forEach(assertTag)
    const { id } = await store.resolve(ref)
    const others = (await store.list()).filter((entry) => entry.id !== id)
    for (const tag of tags) await store.tag(id, tag)
    for (const { tag, from, last } of movedTags(others, tags))
      say(`${tag} named ${shortId(from)} before${last ? ', which has no tag now' : ''}`)
    const entry = await store.resolve(id)
    if (context.json) return context.printJson({ id, tags: entry.tags })
    context.print(`${shortId(id)}  ${entry.tags.join(', ')}`)
  },
}
