import { packSnapshot, VarveError } from 'varve'
import { layoutOption, positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { chosenWorkingSet } from '../restore-options.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve pack REF [--layout flat|packed] [--working-set SET] [--all]',
  options: {
    ...storeOption,
    layout: { type: 'string' },
    'working-set': { type: 'string' },
    all: { type: 'boolean' },
  },
  help: `
  REF                   the snapshot whose layers are written anew
  --layout flat|packed  packed (default): data pages one after the other, for transport and large
                        reads. flat: a sparse memory file; Firecracker loads it as it is if the
                        snapshot has only this layer
  --working-set SET     the name of a working set kept in the snapshot, REF:NAME of one of it or of
                        a snapshot that it descends from, or a file: its pages come first, in the
                        order in which they were touched, so that one read brings them
  --all                 also give the new layers to every other snapshot that has the old ones

Layers that have the layout already stay, unless --working-set asks for another order. The snapshot
keeps its id, its parent, its tags and every byte of its memory. The old layers are only read; varve
gc removes them unless other snapshots use them.

Examples:
  varve pack base --all && varve gc
  varve pack base --layout flat --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const layout = layoutOption(values) ?? 'packed'
    const workingSet = stringOption(values, 'working-set')
    if (layout === 'flat' && workingSet !== undefined)
      throw new VarveError('USAGE', 'a flat layer has its pages in their own order: give no --working-set')
    const store = await openStore(context)
    const done = await context.progress(`packing ${ref}`, async (onProgress) =>
      packSnapshot(store, ref, {
        ...(await chosenWorkingSet(store, ref, context)),
        layout,
        all: values.all === true,
        signal,
        onProgress,
      }),
    )
    if (context.json) return context.printJson(done)
    if (done.packed === 0)
      return context.print(`${ref}  nothing to do: ${count(done.layers, 'layer')}, ${layout} already`)
    context.print(
      `${ref}  ${done.packed} of ${count(done.layers, 'layer')} written anew, ${layout}: ${humanPages(done.dataPages)} of data`,
    )
    if (done.others.length > 0) context.print(`also in ${done.others.map(shortId).join(', ')}`)
  },
}
