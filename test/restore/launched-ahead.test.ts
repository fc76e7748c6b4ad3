import { MicroConsole } from '@varve/lab'
import { captureSnapshot, engineNames, launchMachine, listMachines, restoreMachine } from 'varve'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const pattern = { start: 1000, count: 200, order: 3 }

const world = microWorldOfFile()
beforeAll(async () => {
  await using booted = await world.boot({ memoryMib: 32 })
  const { machine, console } = booted
  await console.write(pattern, 1)
  await captureSnapshot(await machine.pause(), { store: world.store, tags: ['base'] })
})

const running = () => listMachines(world.runtimeDirectory).map(({ record }) => record.id)

test.each(engineNames)('%s restores into a VMM that was launched ahead', async (engine) => {
  const ahead = await launchMachine({ ...world.launch, name: 'ahead' })
  // Neither the name nor the runtime directory is told again: they are the machine's.
  const { machine, report } = await restoreMachine(world.store, 'base', { machine: ahead, engine })
  await using _machine = machine
  await using console = MicroConsole.attach(machine.paths)
  expect(machine.pid).toBe(ahead.pid)
  expect(report.phasesMs).not.toHaveProperty('launch')
  expect(await console.verify(pattern, 1, { words: 1 })).toBe(pattern.count)
  expect(running()).toEqual(['ahead'])
})

test('a restore that fails takes it along; one in use is refused, and left alone', async () => {
  const ahead = await launchMachine(world.launch)
  const options = { ...world.launch, machine: ahead }
  await expect(restoreMachine(world.store, 'nothing', options)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(running()).toEqual([])
  await expect(restoreMachine(world.store, 'base', options)).rejects.toMatchObject({ code: 'MACHINE_EXITED' })

  const used = await launchMachine(world.launch)
  const { machine } = await restoreMachine(world.store, 'base', { machine: used })
  await using _machine = machine
  const again = restoreMachine(world.store, 'base', { machine: used })
  await expect(again).rejects.toMatchObject({ code: 'MACHINE_STATE' })
  await using console = MicroConsole.attach(machine.paths)
  expect(await console.verify(pattern, 1, { words: 1 })).toBe(pattern.count)
})
