import { spawnSync } from 'node:child_process'
import { MicroConsole } from '@varve/lab'
import { bootMachine, connectMachine, type RunningMachine } from 'varve'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const spec = () => ({ kernel: world.kernel, memoryMib: 32, vcpus: 1 })
const options = (name: string) => ({ name, ...world.launch })
const boot = (name: string) => bootMachine(spec(), options(name))

/** Another process finds the machine dead, and boots one with its name, while this process runs nothing. */
function rebootElsewhere(name: string): void {
  const script = `
    import { bootMachine, listMachines } from 'varve'
    const [spec, options] = JSON.parse(process.argv[1])
    listMachines(options.runtimeDirectory)
    ;(await bootMachine(spec, options)).detach()`
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', script, JSON.stringify([spec(), options(name)])],
    { encoding: 'utf8' },
  )
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
}

/** The machine that has the name now, after `work` with the handle of the dead one. */
async function successor(name: string, work: (dead: RunningMachine) => Promise<unknown>) {
  await using booted = await boot(name)
  const dead = (await connectMachine(name, {
    runtimeDirectory: world.runtimeDirectory,
  })) as RunningMachine
  const console = MicroConsole.attach(dead.paths)
  await console.ready()
  process.kill(booted.pid, 'SIGKILL')
  rebootElsewhere(name)
  const failure = work(dead).catch((error: unknown) => error)
  const line = console.fill({ start: 512, count: 1, stride: 1 }, 7).catch((error: unknown) => error)
  const found = [await failure, await line]
  await console[Symbol.asyncDispose]()
  return { found, machine: await connectMachine(name, { runtimeDirectory: world.runtimeDirectory }) }
}

const exited = expect.objectContaining({ code: 'MACHINE_EXITED' })

test.each([
  ['a step', (dead: RunningMachine) => dead.pause()],
  ['a question', (dead: RunningMachine) => dead.info()],
  [
    'the typed API',
    (dead: RunningMachine) => dead.takeDiff({ statePath: '/nowhere', memoryPath: '/nowhere' }),
  ],
])('%s with the handle of a dead machine does not reach another that has its name', async (name, work) => {
  const { found, machine } = await successor(`again-${name.replaceAll(' ', '-').toLowerCase()}`, work)
  try {
    expect(found).toEqual([exited, exited])
    expect((await machine.info()).state).toBe('Running')
    // Had the line arrived, the page would have this word.
    await using console = MicroConsole.attach(machine.paths)
    await console.ready()
    expect((await console.read({ start: 512, count: 1, stride: 1 })).value).toBe(0n)
  } finally {
    await machine.stop()
  }
})
