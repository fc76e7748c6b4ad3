import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  bootMachine,
  captureSnapshot,
  connectMachine,
  type LaunchedMachine,
  type LaunchMachineOptions,
  launchMachine,
  listMachines,
  type PausedMachine,
  type RunningMachine,
  reapMachines,
  restoreMachine,
  stopMachine,
} from 'varve'
import { isAlive, tryLock } from 'varve/testing'
import { describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const options = (name: string): LaunchMachineOptions => ({
  name,
  ...world.launch,
})
const launch = (name: string) => launchMachine(options(name))
const boot = (name: string) => bootMachine({ kernel: world.kernel, memoryMib: 32, vcpus: 1 }, options(name))
const connect = (name: string) => connectMachine(name, { runtimeDirectory: world.runtimeDirectory })

let taken = 0
const full = (machine: PausedMachine) => {
  const place = world.path(`snapshot-${taken++}`)
  return machine.snapshot({ type: 'Full', statePath: `${place}.state`, memoryPath: place })
}

describe('two handles of one machine, as two processes have them', () => {
  test('each knows what a Diff counts from, whoever took the last snapshot', async () => {
    await using mine = await boot('lineage')
    const theirs = (await connect('lineage')) as RunningMachine
    const paused = await mine.pause()
    const { taken: first } = await full(paused)
    paused.countFromSnapshot('a'.repeat(32), first)
    expect(theirs.snapshotId).toBe('a'.repeat(32))
    expect(theirs.snapshotsTaken).toBe(1)
    const running = await paused.resume()

    const theirPause = await theirs.pause()
    const { taken: second } = await full(theirPause)
    expect([first, second]).toEqual([1, 2])
    theirPause.countFromSnapshot('b'.repeat(32), second)
    // A name for a snapshot that is no longer the last one is too late.
    paused.countFromSnapshot('c'.repeat(32), 1)
    expect(running.snapshotId).toBe('b'.repeat(32))
    expect(running.snapshotsTaken).toBe(2)

    // Who looked before that must look again.
    const files = { statePath: world.path('late.state'), memoryPath: world.path('late') }
    const late = await failure(theirPause.snapshot({ type: 'Diff', ifTaken: first, ...files }))
    expect(late.code).toBe('IMAGE_MISMATCH')
    expect(existsSync(files.memoryPath)).toBe(false)
    expect((await theirPause.snapshot({ type: 'Diff', ifTaken: second, ...files })).taken).toBe(3)
  })

  test('a process that only found it does not own it, nor takes it from its owner', async () => {
    await using _mine = await boot('owned')
    await using _theirs = await connect('owned')
    expect(listMachines(world.runtimeDirectory)[0]?.record.owner?.pid).toBe(process.pid)
  })

  test('steps wait for each other, and the wait can be ended', async () => {
    await using machine = await boot('turns')
    const lock = await tryLock(join(machine.paths.directory, 'steps.lock'))
    const ended = await failure(machine.pause({ signal: AbortSignal.timeout(50) }))
    expect(ended.code).toBe('TIMEOUT')
    const pause = machine.pause()
    expect(await Promise.race([pause, sleep(50).then(() => 'waiting')])).toBe('waiting')
    expect((await machine.info()).state).toBe('Running')
    await lock?.[Symbol.asyncDispose]()
    expect((await pause).state).toBe('paused')
  })

  test('the end of the machine ends the wait', async () => {
    await using machine = await boot('turn-end')
    await using _lock = await tryLock(join(machine.paths.directory, 'steps.lock'))
    const pause = failure(machine.pause())
    process.kill(machine.pid, 'SIGKILL')
    expect((await pause).code).toBe('MACHINE_EXITED')
  })
})

test('a machine whose owner was killed is ended, and the caller learns why', async () => {
  const { binary, runtimeDirectory } = world
  const code = `import { launchMachine } from 'varve'
    const machine = await launchMachine(${JSON.stringify({ binary, runtimeDirectory, name: 'orphan' })})
    console.log(machine.pid)
    setInterval(() => {}, 1000)`
  const owner = spawn(process.execPath, ['--input-type=module', '-e', code], {
    cwd: process.cwd(),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(owner.stdout, 'data')
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  await using other = await boot('lives')
  expect(reapMachines(runtimeDirectory)).toEqual([
    {
      id: 'orphan',
      cause: 'owner-ended',
      reason: `its owner, process ${owner.pid}, ended without stopping or detaching it`,
    },
  ])
  expect(listMachines(runtimeDirectory).map(({ record }) => record.id)).toEqual([other.id])
})

describe('a detached machine that dies', () => {
  async function dead(it: string | LaunchedMachine, note?: object) {
    const machine = typeof it === 'string' ? await launch(it) : it
    const { identity, paths } = machine
    if (note) writeFileSync(join(paths.directory, 'death.json'), JSON.stringify(note))
    machine.detach()
    process.kill(identity.pid, 'SIGKILL')
    while (isAlive(identity)) await sleep(5)
    return machine
  }

  test('leaves its reason to whoever asks later, until the name is given again', async () => {
    const machine = await dead('paged', { reason: 'page-server-died', detail: 'process 7 ended' })
    expect(reapMachines(world.runtimeDirectory)).toEqual([
      { id: 'paged', cause: 'vmm-ended', reason: 'page-server-died: process 7 ended' },
    ])
    expect(reapMachines(world.runtimeDirectory)).toEqual([])
    expect(listMachines(world.runtimeDirectory)).toEqual([])
    expect(existsSync(machine.paths.directory)).toBe(false)
    for (const ask of [
      connect('paged'),
      stopMachine('paged', { runtimeDirectory: world.runtimeDirectory }),
    ]) {
      const error = await failure(ask)
      expect(error.code).toBe('NOT_FOUND')
      expect(error.message).toContain('page-server-died: process 7 ended')
    }
    expect((await machine.exitedError()).code).toBe('PAGE_SERVER_DIED')
    await (await launch('paged')).stop()
    expect((await failure(connect('paged'))).message).toBe('no machine named paged')
  })

  test('because its page server was killed says so', async () => {
    const { store, binary, runtimeDirectory } = world
    {
      await using machine = await boot('origin')
      await captureSnapshot(await machine.pause(), { store, tags: ['origin'] })
    }
    const { machine, pageServer } = await restoreMachine(store, 'origin', {
      engine: 'paged',
      name: 'served',
      binary,
      runtimeDirectory,
    })
    const { identity } = machine
    machine.detach()
    // Without this a successor would serve the machine on.
    rmSync(join(machine.paths.directory, 'page-server', 'state.json'))
    process.kill(pageServer?.identity.pid as number, 'SIGKILL')
    while (isAlive(identity)) await sleep(5)
    const error = await failure(connect('served'))
    expect(error.code).toBe('NOT_FOUND')
    expect(error.message).toContain(`page-server-died: process ${pageServer?.identity.pid} ended`)
  })

  test('without a note leaves the last words of Firecracker', async () => {
    await dead('crashed')
    const error = await failure(connect('crashed'))
    expect(error.code).toBe('NOT_FOUND')
    expect(error.message).toContain('Firecracker ended')
    expect(error.message).toContain('[crashed:')
  })

  test('its old handles leave a new machine of that name alone', async () => {
    const first = await launch('twice')
    const old = await connect('twice')
    const directory = old.paths.directory
    await dead(first)
    await using machine = await launch('twice')
    expect(machine.paths.directory).toBe(directory)
    old.countFromSnapshot('d'.repeat(32), 0)
    await old.stop()
    expect(isAlive(machine.identity)).toBe(true)
    expect(machine.snapshotId).toBeNull()
    expect((await machine.info()).state).toBe('Not started')
  })
})

describe('a handle that was detached', () => {
  test('takes no step, and ends nothing: not by stop, nor when it goes out of scope', async () => {
    {
      await using running = await boot('let-go')
      running.detach()
      for (const step of [() => running.pause(), () => running.stop(), async () => running.detach()]) {
        const error = await failure(step())
        expect(error.code).toBe('MACHINE_STATE')
        expect(error.message).toContain('let-go was detached')
      }
    }
    await using again = await connect('let-go')
    expect(again.state).toBe('running')
  })
})

describe('launches that fail', () => {
  const script = (name: string, text: string) => {
    writeFileSync(world.path(name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
    return { ...world.binary, path: world.path(name) }
  }

  test('a process is on record before it answers', async () => {
    const aborter = new AbortController()
    const binary = script('never-answers', 'exec sleep 600')
    const launching = failure(launchMachine({ ...options('mute'), binary, signal: aborter.signal }))
    let found = listMachines(world.runtimeDirectory)
    for (; found.length === 0; found = listMachines(world.runtimeDirectory)) await sleep(1)
    const { process: identity } = found[0]?.record ?? {}
    expect(identity && isAlive(identity)).toBe(true)
    aborter.abort()
    expect((await launching).code).toBe('INTERRUPTED')
    expect(identity && isAlive(identity)).toBe(false)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('leave no jail, and do not touch one that is there', async () => {
    const chrootBaseDir = world.path('jails')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    const jailer = { uid: 12345, gid: 12345, chrootBaseDir }
    const content = () => readdirSync(chrootBaseDir, { recursive: true }).map(String).sort()
    const { path, version, origin } = world.binary
    const lone = await failure(
      launchMachine({ ...options('lone'), binary: { path, version, origin }, jailer }),
    )
    expect(lone.code).toBe('BINARY_NOT_FOUND')
    const long = { ...jailer, chrootBaseDir: join(chrootBaseDir, 'x'.repeat(90)) }
    expect((await failure(launchMachine({ ...options('long'), jailer: long }))).code).toBe('PATH_INVALID')
    expect(content()).toEqual([])

    const bad = { ...jailer, path: script('no-jailer', 'exit 3').path }
    expect((await failure(launchMachine({ ...options('bad'), jailer: bad }))).code).toBe('LAUNCH_FAILED')
    expect(content()).toEqual(['firecracker'])

    mkdirSync(join(chrootBaseDir, 'firecracker', 'taken', 'root'), { recursive: true })
    expect((await failure(launchMachine({ ...options('taken'), jailer }))).code).toBe('ALREADY_EXISTS')
    expect(content()).toEqual(['firecracker', 'firecracker/taken', 'firecracker/taken/root'])
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })
})
