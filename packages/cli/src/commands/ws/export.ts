import { presentPages, writeWorkingSet } from 'varve/working-sets'
import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { humanPages } from '../../text.js'
import { loadWorkingSet, placeHelp } from '../../working-set-place.js'

export const command: Command = {
  usage: 'usage: varve ws export SET FILE [--json]',
  options: { ...storeOption },
  help: `
  FILE  the working-set file to make (docs/formats/working-set-v1.md); must not exist

${placeHelp}
To bring the file back, use varve ws union FILE --to REF:NAME. For other tools, varve ws show SET
--json --runs prints the same as JSON.

Example:
  varve ws export monday:hello hello.ws`,
  run: async (context) => {
    const [text, path] = positionals(context, ['SET', 'FILE'])
    const set = await loadWorkingSet(await openStore(context), text, context)
    await writeWorkingSet(path, set, { signal: context.signal })
    const pages = presentPages(set).pages
    if (context.json) return context.printJson({ path, image: set.image, pages })
    context.print(`${path}  ${humanPages(pages)} touched, ${humanPages(set.written.pages)} of it written`)
  },
}
