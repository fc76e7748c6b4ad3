import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest } from '@varve/lab'
import { connectMachine, listMachines, type ProcessIdentity } from 'varve'
import type { Action, ActionWorker } from '../action.js'
import { type Content, emptyContent, memoryMib } from '../content.js'
import type { Context } from '../context.js'
import { Vm } from '../vm.js'

/** The largest number of VMs that a worker keeps. */
export const mostVms = 3

export const boot: Action = async (worker, context) => {
  const begun = worker.ledger.position()
  const name = worker.machineName(context)
  const { machine, console } = await bootMicroGuest({
    binary: worker.binary,
    runtimeDirectory: worker.run.runtime,
    memoryMib,
    ...name,
  })
  const vm = worker.keep(new Vm(machine, emptyContent, begun, console), context)
  await vm.change(worker.random)
  vm.ready = worker.ledger.position()
  return { vm: vm.id }
}

/** The guest writes, and checks all that it wrote before. */
export const touch: Action = async (worker, context) => {
  const vm = worker.pickVm(context)
  await vm.change(worker.random)
  return { vm: vm.id, pages: await vm.verify(worker.random) }
}

export const capture: Action = (worker, context) => captureVm(worker, context, worker.pickVm(context))

export async function captureVm(worker: ActionWorker, context: Context, vm: Vm) {
  const unique = worker.unique()
  const op = `${context.op}-${unique}`
  const result = await vm.capture(worker.store, {
    full: worker.random.chance(0.1),
    unique,
    begin: () => worker.ledger.write({ event: 'begin', op }),
    named: (id, tags) => worker.ledger.write({ event: 'named', op, id, tags }),
  })
  return { vm: vm.id, ...result }
}

export const stop: Action = async (worker, context) => {
  const vm = worker.pickVm(context)
  worker.forget(vm)
  await vm.stop()
  return { vm: vm.id }
}

interface DetachedVm {
  readonly id: string
  readonly content: Content
  readonly identity: ProcessIdentity
  readonly begun: number
  readonly ready: number
}

/** Afterwards any worker may adopt the VM. */
export const detach: Action = async (worker, context) => {
  const vm = worker.pickVm(context)
  worker.forget(vm)
  await vm.detach()
  const { id, content, identity, begun, ready } = vm
  const path = join(worker.run.detached, `${id}.json`)
  writeFileSync(
    `${path}.${worker.id}`,
    JSON.stringify({ id, content, identity, begun, ready } satisfies DetachedVm),
  )
  renameSync(`${path}.${worker.id}`, path)
  return { vm: id }
}

/** Only one worker gets it: two consoles of one guest would cut off each other's lines. */
export const adopt: Action = async (worker, context) => {
  const name = worker.random.pick(readdirSync(worker.run.detached).filter((it) => it.endsWith('.json')))
  if (name === undefined) return { skipped: 'none' }
  const adopted = join(worker.run.adopted, `${worker.unique()}.json`)
  try {
    renameSync(join(worker.run.detached, name), adopted)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { skipped: 'taken' }
    throw error
  }
  const { id, content, identity, begun, ready } = JSON.parse(readFileSync(adopted, 'utf8')) as DetachedVm
  context.vms.push({ identity, begun, ready })
  // It may have been killed, and its name given to a machine of another worker, which is that worker's alone.
  const isThat = (it: ProcessIdentity) => it.pid === identity.pid && it.startTime === identity.startTime
  const found = listMachines(worker.run.runtime).find(({ record }) => record.id === id)
  if (found !== undefined && !isThat(found.record.process)) return { skipped: 'another has its name' }
  const machine = await connectMachine(id, { runtimeDirectory: worker.run.runtime })
  if (!isThat(machine.identity)) return { skipped: 'another has its name' }
  if (machine.state === 'launched') throw new Error(`machine ${id} was detached without a guest`)
  const vm = worker.keep(new Vm(machine, content, begun), context)
  vm.ready = ready
  return { vm: id, pages: await vm.verify(worker.random) }
}

/** A process that lists machines removes those of dead owners. */
export const list: Action = async (worker) => ({ machines: listMachines(worker.run.runtime).length })
