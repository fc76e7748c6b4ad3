import { bootMicroGuest, MicroConsole } from '@varve/lab'
import { captureSnapshot, cloneMachines, type FixUp, listMachines, restoreMachine, VarveError } from 'varve'
import { beforeAll, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** When a restored guest is told what is different for it. */

const world = microWorldOfFile()
const place = () => ({ ...world.launch, engine: 'file' }) as const

beforeAll(async () => {
  await using guest = await bootMicroGuest({ memoryMib: 32, ...world.launch })
  await captureSnapshot(guest.machine, { store: world.store, tags: ['guest'] })
})

/** Asks the guest, which must run for it. */
const asks = async (machine: Parameters<FixUp>[0]) => {
  await using console = MicroConsole.attach(machine.paths)
  await console.ping()
}

test('the restore is over when the guest has been fixed up', async () => {
  const fixUp: FixUp = async (machine, { clone }) => {
    expect([machine.state, clone]).toEqual(['running', null])
    await asks(machine)
    return [{ name: 'clock', ms: 0.25 }]
  }
  await using restored = await restoreMachine(world.store, 'guest', { ...place(), fixUp })
  expect(restored.report.fixUp).toEqual([{ name: 'clock', ms: 0.25 }])
  expect(restored.report.phasesMs.fixUp).toBeGreaterThan(0)
  await using plain = await restoreMachine(world.store, 'guest', place())
  expect(plain.report.fixUp).toBeNull()
})

test('a guest that cannot be fixed up is ended, with the reason', async () => {
  const before = listMachines(world.runtimeDirectory).length
  const fixUp: FixUp = async () => {
    throw new VarveError('TIMEOUT', 'no agent answers')
  }
  const failed = await failure(restoreMachine(world.store, 'guest', { ...place(), fixUp }))
  expect(failed.message).toBe('no agent answers')
  expect(listMachines(world.runtimeDirectory)).toHaveLength(before)
})

test('each clone is told its number, from a snapshot and from a machine', async () => {
  const told: (number | null)[] = []
  const fixUp: FixUp = async (machine, { clone }) => {
    await asks(machine)
    told.push(clone)
    return []
  }
  {
    await using clones = await cloneMachines(world.store, 'guest', 3, { ...place(), fixUp })
    expect(clones).toHaveLength(3)
  }
  await using guest = await bootMicroGuest({ memoryMib: 32, ...world.launch })
  await using clones = await cloneMachines(guest.machine, 2, { ...world.launch, store: world.store, fixUp })
  expect(clones.map(({ report }) => report.fixUp)).toEqual([[], []])
  await clones.sealed
  expect(told.toSorted()).toEqual([1, 1, 2, 2, 3])
})

test('a guest that is left paused cannot be fixed up', async () => {
  const paused = { ...place(), resume: false, fixUp: async () => [] } as const
  expect(await failure(restoreMachine(world.store, 'guest', paused))).toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
})
