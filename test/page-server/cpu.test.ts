import { readdirSync, readFileSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { captureSnapshot, restoreMachine } from 'varve'
import { threadCpus } from 'varve/testing'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const pattern = { start: 1000, count: 2000, order: 3 }

const world = microWorldOfFile()
beforeAll(async () => {
  await using booted = await world.boot({ memoryMib: 32 })
  const { machine, console } = booted
  await console.write(pattern, 1)
  await captureSnapshot(await machine.pause(), { store: world.store, tags: ['base'] })
})

/** The name and the CPUs of each thread, as the kernel tells them. */
function placesOf(pid: number): readonly { readonly name: string; readonly cpus: string }[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')
    const field = (name: string) => new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1] ?? ''
    return { name: field('Name'), cpus: field('Cpus_allowed_list') }
  })
}

test('faults are answered, and the vCPU runs, where it was asked for, for as long as the VM is there', async () => {
  const cpu = threadCpus(0).at(-1) as number
  const anywhere = readFileSync('/proc/self/status', 'utf8').match(/^Cpus_allowed_list:\t(.*)$/m)?.[1]
  const placed = await restoreMachine(world.store, 'base', {
    ...world.launch,
    engine: 'paged',
    faultCpu: cpu,
  })
  await using _placed = placed.machine
  await using other = (await restoreMachine(world.store, 'base', { ...world.launch, engine: 'paged' }))
    .machine
  await using console = MicroConsole.attach(placed.machine.paths)
  expect(await console.verify(pattern, 1, { words: 1 })).toBe(pattern.count)

  const vcpu = (pid: number) => placesOf(pid).filter(({ name }) => name.startsWith('fc_vcpu '))
  expect(vcpu(placed.machine.pid)).toEqual([{ name: 'fc_vcpu 0', cpus: `${cpu}` }])
  expect(vcpu(other.pid)).toEqual([{ name: 'fc_vcpu 0', cpus: anywhere }])
  const server = (await placed.pageServer?.processes())?.server ?? expect.fail('no page server')
  const there = () => placesOf(server.pid).filter(({ cpus }) => cpus === `${cpu}`).length
  // Of the server's threads, one answers faults.
  expect(there()).toBe(anywhere === `${cpu}` ? placesOf(server.pid).length : 1)
  await placed.machine.stop()
  expect(there()).toBe(anywhere === `${cpu}` ? placesOf(server.pid).length : 0)
})

test('a CPU that is not there ends the restore, and nobody else’s VM', async () => {
  await using other = (await restoreMachine(world.store, 'base', { ...world.launch, engine: 'paged' }))
    .machine
  const asked = restoreMachine(world.store, 'base', { ...world.launch, engine: 'paged', faultCpu: 8000 })
  await expect(asked).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: /CPU 8000/ })
  await using console = MicroConsole.attach(other.paths)
  expect(await console.verify(pattern, 1, { words: 1 })).toBe(pattern.count)
})
