import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MicroVm } from '@varve/lab/testing'
import { captureSnapshot, connectMachine, type RunningMachine } from 'varve'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { processes } from '../support/frozen-processes.js'
import { liveCapturer } from '../support/live-capturer.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** The process that captures live, and its helper, are killed while that has the VMM make calls. */

const world = microWorldOfFile()
const memoryMib = 32
const place = () => ({ ...world.launch, store: world.store })

/** A kill can come before the calls, or after them: then the VM lives on, and the next capture is killed. */
const mostTries = 60
const lookMs = 5000

const tracerOf = (pid: number): number =>
  Number(/^TracerPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])

const helpers = () =>
  processes().filter(({ parent, command }) => parent === process.pid && command.includes('freezer-main'))

/** Whether the helper has noted that it makes the VMM call. */
function isHeld({ directory }: MicroVm['machine']['paths']): boolean {
  const note = readdirSync(directory).find((name) => name.startsWith('held-for-capture.'))
  try {
    return note !== undefined && readFileSync(join(directory, note), 'latin1').startsWith('1')
  } catch (error) {
    // Removed since it was found.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** Gives the pid of the helper. Looks without a pause: the calls take a millisecond. */
async function killHolding({ machine }: MicroVm): Promise<number> {
  const { child, connected, came } = liveCapturer(world, machine, { mode: 'live' })
  await connected
  const until = performance.now() + lookMs
  let tracer = 0
  while (tracer === 0 && performance.now() < until) if (isHeld(machine.paths)) tracer = tracerOf(machine.pid)
  if (tracer !== 0) process.kill(tracer, 'SIGKILL')
  child.kill('SIGKILL')
  if (child.signalCode === null) await once(child, 'exit')
  await came
  return tracer
}

const endsSoon = ({ machine }: MicroVm): Promise<boolean> =>
  Promise.race([machine.exited.then(() => true), sleep(200).then(() => false)])

/** Gives the helper that was killed. */
async function killedWhileHeld(vm: MicroVm): Promise<number> {
  for (let tries = 0; tries < mostTries; tries++) {
    const helper = await killHolding(vm)
    if (await endsSoon(vm)) return helper
    // Its guest may stand still, and goes on.
    if ((await vm.machine.info()).state === 'Paused') await vm.machine.api.resume()
  }
  throw new Error(`the VM outlived ${mostTries} kills`)
}

test('the VM ends, its owner says why, and so does the note that it leaves', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib })
  const { machine } = vm
  const helper = await killedWhileHeld(vm)
  expect(await machine.exited).toMatchObject({ signal: 'SIGKILL' })
  const why = `process ${helper} was killed while it had Firecracker make calls for a live capture`
  expect(await machine.exitedError()).toMatchObject({
    code: 'MACHINE_EXITED',
    message: expect.stringContaining(why),
  })
  expect(await failure(connectMachine(machine.id, world.launch))).toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(why),
  })
})

/** Memory that is no file's, in pages; `Rss` of it. */
function anonymousPages({ machine }: MicroVm): { mapped: number; resident: number } {
  const smaps = readFileSync(`/proc/${machine.pid}/smaps`, 'utf8')
  const found = [...smaps.matchAll(/^[0-9a-f-]+ \S+ 0+ 00:00 0 *\nSize: +(\d+) kB[\s\S]*?^Rss: +(\d+) kB$/gm)]
  const sum = (part: 1 | 2) => found.reduce((pages, it) => pages + Number(it[part]) / 4, 0)
  return { mapped: sum(1), resident: sum(2) }
}

test('a helper that is killed later leaves seven pages in the VMM, of a small guest', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib })
  const machine = vm.machine as RunningMachine
  const options = { store: world.store, mode: 'live' } as const
  await captureSnapshot(machine, options)
  const before = anonymousPages(vm)
  const { api } = machine
  const { createSnapshot } = api
  const kills = 4
  for (let kill = 0; kill < kills; kill++) {
    // All is prepared, and Firecracker is not asked yet.
    api.createSnapshot = async (...asked) => {
      for (const { pid } of helpers()) process.kill(pid, 'SIGKILL')
      await createSnapshot(...asked)
    }
    expect(await failure(captureSnapshot(machine, options))).toMatchObject({ code: 'INJECTION_FAILED' })
    expect((await machine.info()).state).toBe('Running')
  }
  api.createSnapshot = createSnapshot
  expect((await captureSnapshot(machine, options)).way.mode).toBe('live')
  const after = anonymousPages(vm)
  // Firecracker maps some of its own.
  const most = kills * 7 + 6
  expect(after.mapped - before.mapped).toBeGreaterThanOrEqual(kills * 7)
  expect(after.mapped - before.mapped).toBeLessThanOrEqual(most)
  expect(after.resident - before.resident).toBeLessThanOrEqual(most)
})

test('a VM that ends for another reason is not said to have been held', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib })
  const { machine } = vm
  const { came } = liveCapturer(world, machine, { mode: 'live' })
  expect(await came).toMatchObject({ way: { mode: 'live' } })
  expect(readdirSync(machine.paths.directory).filter((name) => name.startsWith('held-for'))).toEqual([])
  process.kill(machine.pid, 'SIGKILL')
  expect((await machine.exitedError()).message).not.toContain('live capture')
})
