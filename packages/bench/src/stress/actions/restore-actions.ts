import {
  cloneMachines,
  type EngineName,
  launchMachine,
  type MachineRecording,
  type RestoreOptions,
  restoreMachine,
} from 'varve'
import type { RecorderName } from 'varve/working-sets'
import type { Action, ActionWorker, Outcome, PickedSnapshot } from '../action.js'
import type { Context } from '../context.js'
import { Vm } from '../vm.js'
import { mostVms } from './machine-actions.js'

const engines: readonly RestoreOptions['engine'][] = ['file', 'paged', 'mapped', 'auto']

interface Recording {
  readonly engine: EngineName
  readonly recorders: readonly RecorderName[]
}

/** The recorders that each engine allows, docs/guides/working-sets.md; each engine is here twice. */
const recordings: readonly Recording[] = [
  { engine: 'file', recorders: ['pagemap'] },
  { engine: 'file', recorders: ['mincore', 'diff'] },
  { engine: 'paged', recorders: ['faults'] },
  { engine: 'paged', recorders: ['faults'] },
]

/** An engine, and for half of the snapshots that have a working set that set. */
async function chosen(
  { random, store, binary, run }: ActionWorker,
  { tag }: PickedSnapshot,
  asked?: EngineName,
): Promise<RestoreOptions> {
  const engine = asked ?? random.pick(engines)
  const { workingSets } = await store.describe(tag)
  const set = random.pick(workingSets)
  const fetched =
    set !== undefined && random.chance(0.7)
      ? ({
          workingSet: set.name,
          prefetch: random.chance(0.5) ? 'concurrent' : 'before',
        } as const)
      : {}
  const graduate = engine === 'paged' && random.chance(0.2) ? { graduate: true } : {}
  return { engine, binary, runtimeDirectory: run.runtime, ...fetched, ...graduate }
}

const told = ({ engine, workingSet, prefetch, graduate }: RestoreOptions) => ({
  engine,
  workingSet,
  prefetch,
  graduate,
})

export const restore: Action = (worker, context) => restoreBy(worker, context)

/** `engine`: default any. */
export async function restoreBy(
  worker: ActionWorker,
  context: Context,
  engine?: EngineName,
): Promise<Outcome> {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const begun = worker.ledger.position()
  const options = await chosen(worker, found, engine)
  context.note({ tag: found.tag, ...told(options) })
  const place = worker.random.chance(0.15)
    ? { machine: await launchMachine({ binary: worker.binary, runtimeDirectory: worker.run.runtime }) }
    : worker.machineName(context)
  if ('machine' in place) context.note({ ahead: place.machine.id })
  const resume = worker.random.chance(0.7)
  const restored = await restoreMachine(worker.store, found.tag, { ...options, ...place, resume })
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
export const clones: Action = async (worker, context) => {
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
export const record: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const begun = worker.ledger.position()
  const { engine, recorders } = worker.random.pick(recordings) as Recording
  context.note({ tag: found.tag, engine, recorders })
  const restored = await restoreMachine(worker.store, found.tag, {
    engine,
    binary: worker.binary,
    runtimeDirectory: worker.run.runtime,
    record: { recorders },
  })
  const vm = worker.keep(new Vm(restored.machine, found.content, begun), context)
  context.note({ vm: vm.id })
  const recorded = async () => {
    await using recording = restored.recording as MachineRecording
    const pages = await vm.verify(worker.random)
    vm.ready = worker.ledger.position()
    await vm.change(worker.random)
    return { pages, ...(await recording.stop()) }
  }
  const { pages, workingSet } = await recorded()
  worker.forget(vm)
  await vm.stop()
  const name = `set-${worker.random.below(3)}`
  await worker.store.saveWorkingSet(found.tag, name, workingSet)
  return { pages, set: name }
}
