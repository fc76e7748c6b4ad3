import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest } from '@varve/lab'
import { connectMachine, listMachines } from 'varve'
import { emptyContent, memoryMib } from '../content.mjs'
import { Vm } from '../vm.mjs'

/** The largest number of VMs that a worker keeps. */
export const mostVms = 3

export async function boot(worker, context) {
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
export async function touch(worker, context) {
  const vm = worker.pickVm(context)
  await vm.change(worker.random)
  return { vm: vm.id, pages: await vm.verify(worker.random) }
}

export async function capture(worker, context, vm = worker.pickVm(context)) {
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

export async function stop(worker, context) {
  const vm = worker.pickVm(context)
  worker.forget(vm)
  await vm.stop()
  return { vm: vm.id }
}

/** Afterwards any worker may adopt the VM. */
export async function detach(worker, context) {
  const vm = worker.pickVm(context)
  worker.forget(vm)
  await vm.detach()
  const { id, content, identity, begun, ready } = vm
  const path = join(worker.run.detached, `${id}.json`)
  writeFileSync(`${path}.${worker.id}`, JSON.stringify({ id, content, identity, begun, ready }))
  renameSync(`${path}.${worker.id}`, path)
  return { vm: id }
}

/** Only one worker gets it: two consoles of one guest would cut off each other's lines. */
export async function adopt(worker, context) {
  const name = worker.random.pick(readdirSync(worker.run.detached).filter((it) => it.endsWith('.json')))
  if (name === undefined) return { skipped: 'none' }
  const adopted = join(worker.run.adopted, `${worker.unique()}.json`)
  try {
    renameSync(join(worker.run.detached, name), adopted)
  } catch (error) {
    if (error.code === 'ENOENT') return { skipped: 'taken' }
    throw error
  }
  const { id, content, identity, begun, ready } = JSON.parse(readFileSync(adopted, 'utf8'))
  context.vms.push({ id, identity, begun, ready })
  // It may have been killed, and its name given to a machine of another worker, which is that worker's alone.
  const isThat = (it) => it.pid === identity.pid && it.startTime === identity.startTime
  const found = listMachines(worker.run.runtime).find(({ record }) => record.id === id)
  if (found !== undefined && !isThat(found.record.process)) return { skipped: 'another has its name' }
  const machine = await connectMachine(id, { runtimeDirectory: worker.run.runtime })
  if (!isThat(machine.identity)) return { skipped: 'another has its name' }
  const vm = worker.keep(new Vm(machine, content, begun), context)
  vm.ready = ready
  return { vm: id, pages: await vm.verify(worker.random) }
}

/** A process that lists machines removes those of dead owners. */
export async function list(worker) {
  return { machines: listMachines(worker.run.runtime).length }
}
