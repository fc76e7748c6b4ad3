// Does one thing to a store and kills itself with SIGKILL before its k-th change on disk: node operate.mjs
// NAME DIRECTORY K With K = -1 it goes through, and prints every change as JSON.
import { join } from 'node:path'
import { flattenSnapshot, openLocalStore } from 'varve'
import { packLayer, readLayer, squashLayers } from 'varve/layers'
import { observeMutations } from 'varve/testing'
import { capture } from './world.mjs'

const [name, directory, killAt] = [process.argv[2], process.argv[3], Number(process.argv[4])]
const trace = []
const watch = () =>
  observeMutations((mutation) => {
    if (trace.length === killAt) process.kill(process.pid, 'SIGKILL')
    trace.push(mutation)
  })
const open = () => openLocalStore(join(directory, 'store'))

/** Opens before the watch begins, so that what is counted is the operation alone. */
const onStore = (work) => async () => {
  const store = await open()
  watch()
  await work(store)
}

const relayer = async (store, ref, write) => {
  const staging = await store.stage()
  const snapshot = await store.open(ref)
  try {
    const layers = await Promise.all(snapshot.files.map(({ path }) => readLayer(path)))
    await store.relayer(ref, await write(layers, join(staging.directory, 'layer'), snapshot.layers))
  } finally {
    await snapshot[Symbol.asyncDispose]()
    await staging[Symbol.asyncDispose]()
  }
}

/** As `captureSnapshot` asks: the process is killed with and without its lease. */
const leaseTo = ['this process']

const operations = {
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
      return [descriptors[0], { path: squashed }]
    }),
  ),
  pack: onStore((store) =>
    relayer(store, 'base', async ([layer], path) => [
      { path: (await packLayer(layer, path, { layout: 'packed' })).path },
    ]),
  ),
  flatten: onStore(async (store) => {
    const snapshot = await store.open('one')
    await flattenSnapshot(snapshot)
    await snapshot[Symbol.asyncDispose]()
  }),
  gc: onStore((store) => store.gc()),
  export: onStore((store) => store.exportTo(['two'], join(directory, 'out.tar'))),
  import: onStore((store) => store.importFrom(join(directory, 'foreign.tar'))),
}

const work = operations[name]
if (work === undefined)
  throw new Error(`no operation ${name}; there are ${Object.keys(operations).join(', ')}`)
await work()
process.stdout.write(JSON.stringify(trace))
