// Does one thing to a store and kills itself with SIGKILL before its k-th change on disk:
// node operate.js NAME DIRECTORY K. With K = -1 it goes through, and prints every change as JSON.
import { join } from 'node:path'
import { openFrameCache } from '@varve/remote'
import { type Descriptor, flattenSnapshot, type LocalStore, openLocalStore } from 'varve'
import { type Layer, packLayer, readLayer, squashLayers } from 'varve/layers'
import { type Mutation, observeMutations } from 'varve/testing'
import { fillCache } from './cache-world.js'
import { isOperation, type Operation, operations } from './operations.js'
import { capture } from './world.js'

const [name, directory = '', killAt] = [process.argv[2], process.argv[3], Number(process.argv[4])]
const trace: Mutation[] = []
const watch = () =>
  observeMutations((mutation) => {
    if (trace.length === killAt) process.kill(process.pid, 'SIGKILL')
    trace.push(mutation)
  })

/** Opens before the watch begins, so that what is counted is the operation alone. */
const onStore = (work: (store: LocalStore) => Promise<unknown>) => async (): Promise<void> => {
  const store = await openLocalStore(join(directory, 'store'))
  watch()
  await work(store)
}

type NewLayers = (Descriptor | { readonly path: string })[]

async function relayer(
  store: LocalStore,
  ref: string,
  write: (layers: readonly Layer[], path: string, descriptors: readonly Descriptor[]) => Promise<NewLayers>,
): Promise<void> {
  await using staging = await store.stage()
  await using snapshot = await store.open(ref)
  const layers = await Promise.all(snapshot.files.map(({ path }) => readLayer(path)))
  await store.relayer(ref, await write(layers, join(staging.directory, 'layer'), snapshot.layers))
}

/** As `captureSnapshot` asks: the process is killed with and without its lease. */
const leaseTo = ['this process'] as const

const work: Readonly<Record<Operation, () => Promise<void>>> = {
  create: async () => {
    watch()
    await openLocalStore(join(directory, 'fresh'), { create: true })
  },
  'capture a base': onStore((store) => capture(store, 7, { tags: ['new'], disk: true, leaseTo })),
  'capture a child': onStore(async (store) => {
    const { id } = await store.resolve('two')
    await capture(store, 8, { parent: id, tags: ['child'], disk: true, leaseTo })
  }),
  'move a tag': onStore((store) => store.tag('one', 'moved')),
  'remove a snapshot': onStore((store) => store.removeSnapshot('gone')),
  squash: onStore((store) =>
    relayer(store, 'two', async (layers, path, descriptors) => {
      const { path: squashed } = await squashLayers(layers.slice(1), path)
      return [...descriptors.slice(0, 1), { path: squashed }]
    }),
  ),
  pack: onStore((store) =>
    relayer(store, 'base', async (layers, path) => {
      const packed = await packLayer(layers[0] as Layer, path, { layout: 'packed' })
      return [{ path: packed.path }]
    }),
  ),
  flatten: onStore(async (store) => {
    await using snapshot = await store.open('one')
    await flattenSnapshot(snapshot)
  }),
  gc: onStore((store) => store.gc()),
  export: onStore((store) => store.exportTo(['two'], join(directory, 'out.tar'))),
  import: onStore((store) => store.importFrom(join(directory, 'foreign.tar'))),
  'fill a frame cache': async () => {
    watch()
    await fillCache(directory, 'lz4')
  },
  'give back a cached blob': async () => {
    await using cache = await openFrameCache(join(directory, 'cache'), { limitBytes: 1 })
    watch()
    await cache.makeRoom()
  },
}

if (!isOperation(name)) throw new Error(`no operation ${name}; there are ${operations.join(', ')}`)
await work[name]()
process.stdout.write(JSON.stringify(trace))
