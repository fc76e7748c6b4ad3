import { join } from 'node:path'
import type { OpenSnapshot } from 'varve'
import { type LayerFile, packLayer, readLayer, squashLayers } from 'varve/layers'
import type { Action, ActionWorker } from '../action.js'
import type { Context } from '../context.js'
import { captureVm } from './machine-actions.js'
import { gc } from './store-actions.js'

export const squash: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const { store, random } = worker
  await using snapshot = await store.open(found.tag)
  const count = snapshot.layers.length
  if (count < 2) return { skipped: 'one layer' }
  const from = random.below(count - 1)
  const end = from + 2 + random.below(count - from - 1)
  context.note({ tag: found.tag, from, end })
  await squashRun(worker, context, { snapshot, from, end })
  return {}
}

/** Layers of a snapshot, without `end`. */
interface Run {
  readonly snapshot: OpenSnapshot
  readonly from: number
  readonly end: number
}

async function squashRun(
  { store, random }: ActionWorker,
  context: Context,
  { snapshot: { entry, layers, files }, from, end }: Run,
): Promise<void> {
  await using staging = await store.stage()
  const path = join(staging.directory, 'layer')
  const old = await Promise.all(files.slice(from, end).map((file) => readLayer(file.path)))
  await squashLayers(old, path, { layout: random.chance(0.5) ? 'flat' : 'packed' })
  context.relayers = true
  await store.relayer(entry.id, [...layers.slice(0, from), { path }, ...layers.slice(end)])
}

export const pack: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const { store, random } = worker
  await using snapshot = await store.open(found.tag)
  const { entry, layers, files } = snapshot
  const at = random.below(layers.length)
  const old = await readLayer((files[at] as LayerFile).path)
  const layout = old.layout === 'flat' ? 'packed' : 'flat'
  context.note({ tag: found.tag, at, layout })
  await using staging = await store.stage()
  const path = join(staging.directory, 'layer')
  await packLayer(old, path, { layout })
  context.relayers = true
  await store.relayer(entry.id, [...layers.slice(0, at), { path }, ...layers.slice(at + 1)])
  return {}
}

/**
 * The events of a VM's week in one action: capture, squash, capture again, remove all snapshots but the last,
 * and collect garbage. The VM's memory may then come from layers that no snapshot has any more.
 */
export const renew: Action = async (worker, context) => {
  const { store, random, ledger } = worker
  const vm = worker.pickVm(context)
  const first = await captureVm(worker, context, vm)
  context.refs.push(first.tag)
  {
    await using snapshot = await store.open(first.tag)
    const count = snapshot.layers.length
    if (count > 1) await squashRun(worker, context, { snapshot, from: 0, end: count })
  }
  if (random.chance(0.7)) await vm.change(random)
  const second = await captureVm(worker, context, vm)
  const { id } = await store.resolve(first.tag)
  const op = `${context.op}-remove`
  ledger.write({ event: 'remove', op, id })
  await store.removeSnapshot(id)
  ledger.write({ event: 'removed', op })
  const removed = await gc(worker, context)
  return { vm: vm.id, first: first.tag, second: second.tag, ...removed, pages: await vm.verify(random) }
}
