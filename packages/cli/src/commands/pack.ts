import { join } from 'node:path'
import {
  assertWorkingSetOf,
  countPages,
  type Descriptor,
  type OpenSnapshot,
  type PackOrder,
  packLayer,
  readWorkingSet,
  touchOrder,
  VarveError,
} from 'varve'
import { layoutOption, positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { layersOf, relayerOthers } from '../relayer.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve pack REF [--layout flat|packed] [--working-set FILE] [--all]',
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
  --working-set FILE    a working set of this snapshot (or the name of one in it): its pages come
                        first, in the order in which they were touched, so that one read brings them
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
    const done = await context.progress(`packing ${ref}`, async (onProgress) => {
      await using snapshot = await store.open(ref, { signal, onProgress })
      await using staging = await store.stage()
      const { entry, layers } = snapshot
      const order = workingSet === undefined ? undefined : await orderOf(snapshot, workingSet, signal)
      const packed: { number: number; path: string; dataPages: number }[] = []
      for (const [number, layer] of (await layersOf(snapshot, 0, layers.length, signal)).entries()) {
        if (layer.layout === layout && order === undefined) continue
        const path = join(staging.directory, `layer-${number}`)
        const { index } = await packLayer(layer, path, {
          layout,
          order,
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

async function orderOf(
  { entry, map, workingSetFiles }: OpenSnapshot,
  nameOrPath: string,
  signal: AbortSignal,
): Promise<PackOrder> {
  const named = workingSetFiles.find(({ name }) => name === nameOrPath)
  const workingSet = await readWorkingSet(named?.path ?? nameOrPath, { signal })
  assertWorkingSetOf(workingSet, entry.id, map.pages)
  return touchOrder(workingSet)
}
