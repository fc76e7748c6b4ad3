import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bootMicroGuest } from '@varve/lab'
import { captureSnapshot, engineNames, type LaunchedMachine, launchMachine, restoreMachine } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from './support/world.js'

const sdk = fileURLToPath(import.meta.resolve('varve'))

let world: World
beforeAll(async () => {
  world = await openWorld()
  const { binary, runtimeDirectory, store } = world
  const { machine, console } = await bootMicroGuest({ binary, runtimeDirectory, memoryMib: 16 })
  await console[Symbol.asyncDispose]()
  const paused = await machine.pause()
  await captureSnapshot(paused, { store, tags: ['base'] })
  await paused.stop()
})
afterAll(() => world[Symbol.asyncDispose]())

/** Kills the VMM, and has another process list the machines, which removes what is left of it. */
async function killAndForget({ pid, exited, paths }: LaunchedMachine): Promise<void> {
  process.kill(pid, 'SIGKILL')
  await exited
  const list = `import { listMachines } from ${JSON.stringify(sdk)}; listMachines(${JSON.stringify(world.runtimeDirectory)})`
  execFileSync(process.execPath, ['--input-type=module', '-e', list])
  expect(existsSync(paths.directory)).toBe(false)
}

for (const engine of engineNames) {
  test(`a restore by ${engine} into a VMM that was killed, and that others have forgotten, says so`, async () => {
    const { binary, runtimeDirectory, store } = world
    const machine = await launchMachine({ binary, runtimeDirectory })
    await killAndForget(machine)
    await expect(restoreMachine(store, 'base', { engine, machine })).rejects.toMatchObject({
      code: 'MACHINE_EXITED',
    })
  })

  test(`the same just before the load, by ${engine}`, async () => {
    const { binary, runtimeDirectory, store } = world
    const machine = await launchMachine({ binary, runtimeDirectory })
    const restore = restoreMachine(store, 'base', {
      engine,
      machine,
      beforeLoad: () => killAndForget(machine),
    })
    await expect(restore).rejects.toMatchObject({ code: 'MACHINE_EXITED' })
  })
}
