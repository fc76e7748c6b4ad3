import { once } from 'node:events'
import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot, type PausedMachine, type RunningMachine } from 'varve'
import { expect, test } from 'vitest'
import { processes, untilTrue } from '../support/frozen-processes.js'
import { liveCapturer } from '../support/live-capturer.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** The process that captures a machine live is killed while the guest stands still for it. */

const world = microWorldOfFile()
const place = () => ({ ...world.launch, store: world.store })
const first: Written = { pattern: { start: 1024, count: 3000 }, seed: 1 }
const then: Written = { pattern: { start: 5001, count: 500, stride: 2 }, seed: 2 }

type Moment = 'createSnapshot' | 'resume'
type Machine = RunningMachine | PausedMachine

async function killedAt(machine: Machine, diesInsteadOf: Moment): Promise<void> {
  const { child, came } = liveCapturer(world, machine, { mode: 'live' }, { diesInsteadOf })
  expect(await came).toBeUndefined()
  if (child.signalCode === null) await once(child, 'exit')
  expect(child.signalCode).toBe('SIGKILL')
  const freezer = (command: string) =>
    command.includes('freezer-main') && command.endsWith(`\0${child.pid}\0`)
  await untilTrue(() => !processes().some(({ command }) => freezer(command)), 500)
}

const stateOf = async (machine: Machine) => (await machine.info()).state

for (const moment of ['createSnapshot', 'resume'] as const) {
  test(`killed before ${moment}: the guest goes on, and the next snapshot is right`, async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    await vm.fill(first)
    await captureSnapshot(vm.machine, { store: world.store, mode: 'live' })
    await vm.fill(then)
    await killedAt(vm.machine, moment)
    expect(await stateOf(vm.machine)).toBe('Running')
    await vm.verify(first, then)
    const tag = `next-${moment}`
    const { way } = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: [tag] })
    expect(way.frozen?.heldMs).toBeGreaterThan(0)
    await using restored = await MicroVm.restore(place(), tag, 'file')
    await restored.resume()
    await restored.verify(first, then)
  })
}

test('a guest that was paused before stays paused', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
  await vm.fill(first)
  const paused = await (vm.machine as RunningMachine).pause()
  await killedAt(paused, 'createSnapshot')
  expect(await stateOf(paused)).toBe('Paused')
})
