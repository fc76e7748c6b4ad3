import { join } from 'node:path'
import {
  countPages,
  type Descriptor,
  type OpenSnapshot,
  type SnapshotStore,
  squashLayers,
  VarveError,
} from 'varve'
import { layoutOption, positionals, stringOption } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import { layersOf, relayerOthers } from '../relayer.js'
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
    const done = await context.progress(`squashing ${ref}`, async (onProgress) => {
      await using snapshot = await store.open(ref, { signal, onProgress })
      const { from, end } = await chosenRun(context, store, snapshot)
      const { id } = snapshot.entry
      if (end - from < 2) return { id, layers: snapshot.layers.length, squashed: 0 }
      await using staging = await store.stage()
      const path = join(staging.directory, 'layer')
      const old = await layersOf(snapshot, from, end, signal)
      const layer = await squashLayers(old, path, {
        layout: layout ?? old[0]?.layout,
        signal,
        onProgress: (pages, total) => onProgress(`${pages} of ${total} pages`),
      })
      const { layers } = snapshot
      await store.relayer(id, [...layers.slice(0, from), { path }, ...layers.slice(end)], {
        signal,
        onProgress,
      })
      const now = await store.describe(id)
      const others =
        values.all === true
          ? await relayerOthers(store, id, replaceRun(layers.slice(from, end), now.layers[from]), {
              signal,
              onProgress,
            })
          : []
      return {
        id,
        layers: now.layers.length,
        squashed: end - from,
        copied: layer.copied,
        layout: layer.layout,
        dataPages: countPages(layer.index).data,
        oldDataPages: old.reduce((sum, { index }) => sum + countPages(index).data, 0),
        others,
      }
    })
    if (context.json) return context.printJson(done)
    if (done.copied === undefined)
      return context.print(`${ref}  nothing to squash: ${count(done.layers, 'layer')}`)
    context.print(
      `${ref}  ${done.squashed} layers with ${humanPages(done.oldDataPages)} of data are one with ${humanPages(done.dataPages)} (${done.layout}, by ${done.copied.method}); it has ${count(done.layers, 'layer')} now`,
    )
    if (done.others.length > 0) context.print(`also in ${done.others.map(shortId).join(', ')}`)
  },
}

async function chosenRun(
  { values }: CommandContext,
  store: SnapshotStore,
  { layers, entry }: OpenSnapshot,
): Promise<{ readonly from: number; readonly end: number }> {
  const place = async (option: 'above' | 'up-to', otherwise: number) => {
    const ref = stringOption(values, option)
    if (ref === undefined) return otherwise
    const { id } = await store.resolve(ref)
    const at = layers.findIndex(({ annotations }) => annotations?.['dev.varve.image'] === id)
    if (at >= 0) return at + 1
    throw new VarveError(
      'INVALID_ARGUMENT',
      `--${option} ${ref}: none of the ${count(layers.length, 'layer')} of ${shortId(entry.id)} ends at ${shortId(id)}`,
      { remedy: `varve snapshot show ${shortId(entry.id)} lists them` },
    )
  }
  const [from, end] = [await place('above', 0), await place('up-to', layers.length)]
  if (from < end) return { from, end }
  throw new VarveError('INVALID_ARGUMENT', '--above is not below --up-to: there are no layers between them')
}

/** Puts the new layer where another snapshot has exactly the old ones; undefined if it has not. */
function replaceRun(old: readonly Descriptor[], by: Descriptor | undefined) {
  return (layers: readonly Descriptor[]): readonly Descriptor[] | undefined => {
    const from = layers.findIndex(({ digest }) => digest === old[0]?.digest)
    const has = old.every(({ digest }, i) => layers[from + i]?.digest === digest)
    if (from < 0 || !has || by === undefined) return undefined
    return [...layers.slice(0, from), by, ...layers.slice(from + old.length)]
  }
}
