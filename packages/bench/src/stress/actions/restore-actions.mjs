import { cloneMachines, launchMachine, restoreMachine } from 'varve'
import { disposing } from '../disposing.mjs'
import { Vm } from '../vm.mjs'
import { mostVms } from './machine-actions.mjs'

const engines = ['file', 'paged', 'mapped', 'auto']

/** The recorders that each engine allows, docs/guides/working-sets.md. */
const recorders = { file: [['pagemap'], ['mincore', 'diff']], paged: [['faults']] }

/** An engine, and for half of the snapshots that have a working set that set. */
async function chosen({ random, store, binary, run }, { tag }, asked) {
  const engine = asked ?? random.pick(engines)
  const options = { engine, binary, runtimeDirectory: run.runtime }
  const { workingSets } = await store.describe(tag)
  const set = random.pick(workingSets)
  if (set !== undefined && random.chance(0.7)) {
    options.workingSet = set.name
    options.prefetch = random.pick(['concurrent', 'before'])
  }
  if (engine === 'paged' && random.chance(0.2)) options.graduate = true
  return options
}

const told = ({ engine, workingSet, prefetch, graduate }) => ({ engine, workingSet, prefetch, graduate })

export async function restore(worker, context, engine) {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const begun = worker.ledger.position()
  const options = await chosen(worker, found, engine)
  context.note({ tag: found.tag, ...told(options) })
  if (worker.random.chance(0.15)) {
    const { binary, runtimeDirectory } = options
    options.machine = await launchMachine({ binary, runtimeDirectory })
    context.note({ ahead: options.machine.id })
  } else Object.assign(options, worker.machineName(context))
  const resume = worker.random.chance(0.7)
  const restored = await restoreMachine(worker.store, found.tag, { ...options, resume })
  const vm = worker.keep(new Vm(restored.machine, found.content, begun), context)
  context.note({ vm: vm.id, used: restored.report.engine })
  await vm.resume()
  const pages = await vm.verify(worker.random)
  vm.ready = worker.ledger.position()
  await restored.prefetching
  if (worker.vms.length > mostVms || worker.random.chance(0.3)) {
    worker.forget(vm)
    await vm.stop()
  }
  return { pages }
}

/** Clones write in their own memory; none sees another's. */
export async function clones(worker, context) {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const begun = worker.ledger.position()
  const options = await chosen(worker, found)
  const count = 2 + worker.random.below(2)
  context.note({ tag: found.tag, count, ...told(options) })
  const restored = await cloneMachines(worker.store, found.tag, count, options)
  const vms = restored.map(({ machine }) => worker.keep(new Vm(machine, found.content, begun), context))
  context.note({ vms: vms.map(({ id }) => id) })
  for (const vm of vms) {
    await vm.verify(worker.random)
    await vm.change(worker.random)
  }
  let pages = 0
  for (const vm of vms) pages += await vm.verify(worker.random)
  for (const vm of vms) {
    worker.forget(vm)
    await vm.stop()
  }
  return { pages }
}

/** Restores, records what the guest touches, and keeps that as a working set of the snapshot. */
export async function record(worker, context) {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const begun = worker.ledger.position()
  const engine = worker.random.pick(Object.keys(recorders))
  const names = worker.random.pick(recorders[engine])
  const options = { engine, binary: worker.binary, runtimeDirectory: worker.run.runtime }
  context.note({ tag: found.tag, engine, recorders: names })
  const restored = await restoreMachine(worker.store, found.tag, { ...options, record: { recorders: names } })
  const vm = worker.keep(new Vm(restored.machine, found.content, begun), context)
  context.note({ vm: vm.id })
  const { pages, workingSet } = await disposing(restored.recording, async (recording) => {
    const verified = await vm.verify(worker.random)
    vm.ready = worker.ledger.position()
    await vm.change(worker.random)
    return { pages: verified, workingSet: (await recording.stop()).workingSet }
  })
  worker.forget(vm)
  await vm.stop()
  const name = `set-${worker.random.below(3)}`
  await worker.store.saveWorkingSet(found.tag, name, workingSet)
  return { pages, set: name }
}
