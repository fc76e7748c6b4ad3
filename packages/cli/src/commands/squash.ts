import { squashSnapshot } from 'varve'
import { layoutOption, positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve squash REF [--above REF] [--up-to REF] [--all] [--layout flat|packed]',
  options: {
    ...storeOption,
    above: { type: 'string' },
    'up-to': { type: 'string' },
    all: { type: 'boolean' },
    layout: { type: 'string' },
  },
  help: `
  REF                   the snapshot whose layers are squashed
  --above REF           leave the layer of this snapshot, and those below it, as they are
  --up-to REF           leave the layers above the one of this snapshot as they are
  --all                 also give the new layer to every other snapshot that has these layers
  --layout flat|packed  default: the layout of the lowest of them

Makes one layer of several that follow each other; without --above and --up-to, of all layers. The
new layer leaves out pages that a later layer replaced. The snapshot keeps its id, its parent, its
tags and every byte of its memory. The old layers are only read; varve gc removes them unless other
snapshots use them.

Examples:
  varve squash friday
  varve squash friday --up-to wednesday --all && varve gc`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const layout = layoutOption(values)
    const store = await openStore(context)
    const { layer, others, ...done } = await context.progress(`squashing ${ref}`, (onProgress) =>
      squashSnapshot(store, ref, {
        above: stringOption(values, 'above'),
        upTo: stringOption(values, 'up-to'),
        all: values.all === true,
        layout,
        signal,
        onProgress,
      }),
    )
    if (context.json) return context.printJson(layer === null ? done : { ...done, ...layer, others })
    if (layer === null) return context.print(`${ref}  nothing to squash: ${count(done.layers, 'layer')}`)
    context.print(
      `${ref}  ${done.squashed} layers with ${humanPages(layer.oldDataPages)} of data are one with ${humanPages(layer.dataPages)} (${layer.layout}, by ${layer.copied.method}); it has ${count(done.layers, 'layer')} now`,
    )
    if (others.length > 0) context.print(`also in ${others.map(shortId).join(', ')}`)
  },
}
