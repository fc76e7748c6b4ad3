import { join } from 'node:path'
import { packLayer, readLayer, squashLayers } from 'varve/layers'
import { disposing } from '../disposing.mjs'
import { capture } from './machine-actions.mjs'
import { gc } from './store-actions.mjs'

export async function squash(worker, context) {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const { store, random } = worker
  return await disposing(await store.open(found.tag), async (snapshot) => {
    const count = snapshot.layers.length
    if (count < 2) return { skipped: 'one layer' }
    const from = random.below(count - 1)
    const end = from + 2 + random.below(count - from - 1)
    context.note({ tag: found.tag, from, end })
    await squashRun(worker, context, snapshot, from, end)
    return {}
  })
}

async function squashRun({ store, random }, context, { entry, layers, files }, from, end) {
  await disposing(await store.stage(), async (staging) => {
    const path = join(staging.directory, 'layer')
    const old = await Promise.all(files.slice(from, end).map((file) => readLayer(file.path)))
    await squashLayers(old, path, { layout: random.pick(['flat', 'packed']) })
    context.relayers = true
    await store.relayer(entry.id, [...layers.slice(0, from), { path }, ...layers.slice(end)])
  })
}

export async function pack(worker, context) {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const { store, random } = worker
  return await disposing(await store.open(found.tag), async ({ entry, layers, files }) => {
    const at = random.below(layers.length)
    const old = await readLayer(files[at].path)
    const layout = old.layout === 'flat' ? 'packed' : 'flat'
    context.note({ tag: found.tag, at, layout })
    return await disposing(await store.stage(), async (staging) => {
      const path = join(staging.directory, 'layer')
      await packLayer(old, path, { layout })
      context.relayers = true
      await store.relayer(entry.id, layers.toSpliced(at, 1, { path }))
      return {}
    })
  })
}

/**
 * The events of a VM's week in one action: capture, squash, capture again, remove all snapshots but the last,
 * and collect garbage. The VM's memory may then come from layers that no snapshot has any more.
 */
export async function renew(worker, context) {
  const { store, random, ledger } = worker
  const vm = worker.pickVm(context)
  const first = await capture(worker, context, vm)
  context.refs.push(first.tag)
  await disposing(await store.open(first.tag), async (snapshot) => {
    const count = snapshot.layers.length
    if (count > 1) await squashRun(worker, context, snapshot, 0, count)
  })
  if (random.chance(0.7)) await vm.change(random)
  const second = await capture(worker, context, vm)
  const { id } = await store.resolve(first.tag)
  const op = `${context.op}-remove`
  ledger.write({ event: 'remove', op, id })
  await store.removeSnapshot(id)
  ledger.write({ event: 'removed', op })
  const removed = await gc(worker)
  return { vm: vm.id, first: first.tag, second: second.tag, ...removed, pages: await vm.verify(random) }
}
