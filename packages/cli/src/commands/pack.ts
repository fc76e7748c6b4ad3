import { join } from 'node:path'
import { countPages, type Descriptor, packLayer } from 'varve'
import { layoutOption, positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { layersOf, relayerOthers } from '../relayer.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve pack REF [--layout flat|packed] [--all]',
  options: { ...storeOption, layout: { type: 'string' }, all: { type: 'boolean' } },
  help: `
  REF                   the snapshot whose layers are written anew
  --layout flat|packed  packed (default): data pages one after the other, for transport and large
                        reads. flat: a sparse memory file; one layer alone in this layout
                        Firecracker loads as it is
  --all                 give the new layers to every other snapshot that has the old ones, too

Layers that have the layout already stay. The snapshot keeps its id, its parent, its tags and every
byte of its memory. The old layers are only read; varve gc removes them unless other snapshots use
them.

Examples:
  varve pack base --all && varve gc
  varve pack base --layout flat --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const layout = layoutOption(values) ?? 'packed'
    const store = await openStore(context)
    const done = await context.progress(`packing ${ref}`, async (onProgress) => {
      await using snapshot = await store.open(ref, { signal, onProgress })
      await using staging = await store.stage()
      const { entry, layers } = snapshot
      const packed: { number: number; path: string; dataPages: number }[] = []
      for (const [number, layer] of (await layersOf(snapshot, 0, layers.length, signal)).entries()) {
        if (layer.layout === layout) continue
        const path = join(staging.directory, `layer-${number}`)
        const { index } = await packLayer(layer, path, {
          layout,
          signal,
          onProgress: (pages, total) => onProgress(`layer ${number}: ${pages} of ${total} pages`),
        })
        packed.push({ number, path, dataPages: countPages(index).data })
      }
      const dataPages = packed.reduce((sum, layer) => sum + layer.dataPages, 0)
      const result = { id: entry.id, layout, layers: layers.length, packed: packed.length, dataPages }
      if (packed.length === 0) return { ...result, others: [] }
      const paths = new Map(packed.map(({ number, path }) => [number, path]))
      await store.relayer(
        entry.id,
        layers.map((layer, number) => {
          const path = paths.get(number)
          return path === undefined ? layer : { path }
        }),
        { signal, onProgress },
      )
      const now = (await store.describe(entry.id)).layers
      const byOld = new Map(layers.map(({ digest }, number) => [digest, now[number] as Descriptor]))
      const others =
        values.all === true
          ? await relayerOthers(
              store,
              entry.id,
              (theirs) => {
                const next = theirs.map((layer) => byOld.get(layer.digest) ?? layer)
                return next.some(({ digest }, i) => digest !== theirs[i]?.digest) ? next : undefined
              },
              { signal, onProgress },
            )
          : []
      return { ...result, others }
    })
    if (context.json) return context.printJson(done)
    if (done.packed === 0)
      return context.print(`${ref}  nothing to do: ${count(done.layers, 'layer')}, ${layout} already`)
    context.print(
      `${ref}  ${done.packed} of ${count(done.layers, 'layer')} written anew, ${layout}: ${humanPages(done.dataPages)} of data`,
    )
    if (done.others.length > 0) context.print(`also in ${done.others.map(shortId).join(', ')}`)
  },
}
