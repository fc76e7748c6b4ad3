import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  captureSnapshot,
  connectMachine,
  engineNames,
  type LaunchedMachine,
  launchMachine,
  restoreMachine,
} from 'varve'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const sdk = fileURLToPath(import.meta.resolve('varve'))

const world = microWorldOfFile()
beforeAll(async () => {
  const { store } = world
  const { machine, console } = await world.boot({ memoryMib: 16 })
  await console[Symbol.asyncDispose]()
  const paused = await machine.pause()
  await captureSnapshot(paused, { store, tags: ['base'] })
  await paused.stop()
})

/** Kills the VMM, and has it forgotten. */
async function killAndForget(machine: LaunchedMachine): Promise<void> {
  process.kill(machine.pid, 'SIGKILL')
  await machine.exited
  forget(machine)
}

/** Has another process list the machines, which removes what is left of this one. Blocks this process. */
function forget({ paths }: Pick<LaunchedMachine, 'paths'>): void {
  const list = `import { listMachines } from ${JSON.stringify(sdk)}; listMachines(${JSON.stringify(world.runtimeDirectory)})`
  execFileSync(process.execPath, ['--input-type=module', '-e', list])
  expect(existsSync(paths.directory)).toBe(false)
}

test('an adopted VM that was killed, and that others have forgotten, has exited: no page server killed it', async () => {
  const { machine, console } = await world.boot({ memoryMib: 16 })
  await console[Symbol.asyncDispose]()
  machine.detach()
  const adopted = await connectMachine(machine.id, world)
  process.kill(adopted.pid, 'SIGKILL')
  // Before this process can notice the end: only the note that the other one keeps tells of it.
  forget(adopted)
  expect(await adopted.exitedError()).toMatchObject({
    code: 'MACHINE_EXITED',
    message: expect.stringContaining('Firecracker ended'),
  })
})

for (const engine of engineNames) {
  test(`a restore by ${engine} into a VMM that was killed, and that others have forgotten, says so`, async () => {
    const { store, launch } = world
    const machine = await launchMachine(launch)
    await killAndForget(machine)
    await expect(restoreMachine(store, 'base', { engine, machine })).rejects.toMatchObject({
      code: 'MACHINE_EXITED',
    })
  })

  test(`the same just before the load, by ${engine}`, async () => {
    const { store, launch } = world
    const machine = await launchMachine(launch)
    const restore = restoreMachine(store, 'base', {
      engine,
      machine,
      beforeLoad: () => killAndForget(machine),
    })
    await expect(restore).rejects.toMatchObject({ code: 'MACHINE_EXITED' })
  })
}
