import { VarveError } from 'varve'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { placeOf } from '../../working-set-place.js'

export const command: Command = {
  usage: 'usage: varve ws rm REF:NAME... [--json]',
  options: { ...storeOption },
  help: `
Removes working sets from their snapshots. The snapshots do not change otherwise.

Example:
  varve ws rm monday:hello`,
  run: async (context) => {
    const { positionals: texts, signal } = context
    if (texts.length === 0) throw new VarveError('USAGE', 'expected at least one REF:NAME')
    const places = texts.map((text) => {
      const place = placeOf(text)
      if ('path' in place) throw new VarveError('USAGE', `${text} is a file: rm removes it`)
      return place
    })
    const store = await openStore(context)
    for (const { ref, name } of places) await store.removeWorkingSet(ref, name, { signal })
    if (context.json) context.printJson({ removed: places })
  },
}
