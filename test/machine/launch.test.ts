import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bootMachine, launchMachine, listMachines, type ProcessIdentity } from 'varve'
import { isAlive } from 'varve/testing'
import { describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const launch = (name: string) => launchMachine({ name, ...world.launch })

describe('launching Firecracker', () => {
  test('a VM has a private directory, answers, and leaves nothing', async () => {
    const machine = await launch('one')
    expect((await machine.info()).state).toBe('Not started')
    expect(statSync(machine.paths.directory).mode & 0o777).toBe(0o700)
    for (const path of [machine.paths.consoleInput, machine.paths.consoleOutput, machine.paths.standardError])
      expect(statSync(path).mode & 0o077).toBe(0)
    const { identity, paths } = machine
    expect(isAlive(identity)).toBe(true)
    expect((await machine.stop()).signal).toBe('SIGKILL')
    await machine.stop()
    expect(isAlive(identity)).toBe(false)
    expect(existsSync(paths.directory)).toBe(false)
  })

  test('a name is taken once', async () => {
    await using machine = await launch('two')
    expect(machine.id).toBe('two')
    expect((await failure(launch('two'))).code).toBe('ALREADY_EXISTS')
    expect((await failure(launch('../two'))).code).toBe('INVALID_ARGUMENT')
  })

  test('a socket path that does not fit is refused before anything starts', async () => {
    const runtimeDirectory = world.path('x'.repeat(90))
    const error = await failure(launchMachine({ binary: world.binary, runtimeDirectory }))
    expect(error.code).toBe('PATH_INVALID')
    expect(error.remedy).toContain('VARVE_RUNTIME_DIR')
    expect(readdirSync(join(runtimeDirectory, 'machines'))).toEqual([])
  })

  test('a runtime directory that others can enter is refused', async () => {
    const runtimeDirectory = world.path('open')
    mkdirSync(join(runtimeDirectory, 'machines'), { recursive: true, mode: 0o755 })
    // Nor are records in it believed: they name processes to kill.
    expect(() => listMachines(runtimeDirectory)).toThrow('mode 0700')
    expect((await failure(launchMachine({ binary: world.binary, runtimeDirectory }))).code).toBe(
      'PATH_INVALID',
    )
  })

  test('a binary that ends at once is a launch failure with its last words', async () => {
    const path = world.path('not-firecracker')
    writeFileSync(path, '#!/bin/sh\necho "no such luck" >&2\nexit 7\n', { mode: 0o755 })
    const error = await failure(
      launchMachine({ binary: { ...world.binary, path }, runtimeDirectory: world.runtimeDirectory }),
    )
    expect(error.code).toBe('LAUNCH_FAILED')
    expect(error.message).toContain('status 7')
    expect(error.message).toContain('no such luck')
  })

  test('a launch whose signal times out leaves nothing', async () => {
    const error = await failure(
      launchMachine({
        ...world.launch,
        signal: AbortSignal.timeout(1),
      }),
    )
    expect(error.code).toBe('TIMEOUT')
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('a failed load keeps Firecracker’s words and ends the VM', async () => {
    const machine = await launch('bad-load')
    const statePath = world.path('not-a-state')
    writeFileSync(statePath, Buffer.alloc(4096, 1))
    const error = await failure(machine.load({ statePath, memory: { backend: 'File', path: statePath } }))
    expect(error.code).toBe('LOAD_FAILED')
    expect(error.message).toContain('CRC64 validation failed')
    expect(isAlive(machine.identity)).toBe(false)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('a failed boot leaves nothing and says why', async () => {
    const error = await failure(
      bootMachine({ kernel: world.path('absent'), memoryMib: 32, vcpus: 1 }, world.launch),
    )
    expect(error).toMatchObject({ code: 'NOT_FOUND', details: { kind: 'file', field: 'kernel' } })
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('a VMM that was killed is MACHINE_EXITED for a question as for a step, at once and later', async () => {
    await using machine = await launchMachine({
      name: 'gone',
      ...world.launch,
    })
    process.kill(machine.pid, 'SIGKILL')
    const outcome = { code: 'MACHINE_EXITED', message: expect.stringMatching(/gone ended .*SIGKILL/) }
    await expect(machine.info()).rejects.toMatchObject(outcome)
    await machine.exited
    await expect(machine.info()).rejects.toMatchObject(outcome)
    await expect(machine.disks()).rejects.toMatchObject(outcome)
    await machine.stop()
    await expect(machine.info()).rejects.toMatchObject({ code: 'MACHINE_EXITED' })
  })

  test('a VMM that crashes is an error with its last words, not a hang', async () => {
    await using machine = await launch('crash')
    process.kill(machine.pid, 'SIGKILL')
    await machine.exited
    const error = await failure(machine.boot({ kernel: '/dev/null', memoryMib: 32, vcpus: 1 }))
    expect(error.code).toBe('MACHINE_EXITED')
    expect(error.message).toContain('SIGKILL')
  })

  test('the jailer confines the VM and nothing of it stays', async () => {
    const chrootBaseDir = world.path('jail')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    const machine = await launchMachine({
      name: 'jailed',
      ...world.launch,
      jailer: { uid: 12345, gid: 12345, chrootBaseDir },
    })
    try {
      const status = readFileSync(`/proc/${machine.pid}/status`, 'utf8')
      expect(/^Uid:\s+(\d+)/m.exec(status)?.[1]).toBe('12345')
      expect((await machine.info()).id).toBe('jailed')
      expect(machine.paths.apiSocket).toContain(chrootBaseDir)
    } finally {
      await machine.stop()
    }
    expect(
      readdirSync(chrootBaseDir, { recursive: true }).filter((name) => String(name).includes('jailed')),
    ).toEqual([])
  })
})

describe('the jailer’s cgroups', () => {
  test('go with the VM', async () => {
    const chrootBaseDir = world.path('jail-cgroups')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    // Version 2 alone, or version 1 as well.
    const cgroupVersion = existsSync('/sys/fs/cgroup/cgroup.controllers') ? 2 : 1
    const machine = await launchMachine({
      name: 'grouped',
      ...world.launch,
      jailer: { uid: 12345, gid: 12345, chrootBaseDir, cgroupVersion, cgroups: ['pids.max=64'] },
    })
    await using _stop = machine
    expect(readFileSync(`/proc/${machine.pid}/cgroup`, 'utf8')).toMatch(/:.*\/grouped$/m)
    const groups = listMachines(world.runtimeDirectory)[0]?.record.jail?.cgroups ?? []
    expect(groups).toHaveLength(1)
    expect(readFileSync(join(groups[0] as string, 'pids.max'), 'utf8').trim()).toBe('64')
    await machine.stop()
    expect(groups.filter((path) => existsSync(path))).toEqual([])
  })
})

describe('the end of the owner', () => {
  // A program of its own starts a VM, says who it is, and waits to be ended.
  const program = fileURLToPath(new URL('../support/owner.mjs', import.meta.url))

  test('while Firecracker does not answer yet, leaves nothing either', async () => {
    const slow = world.path('slow-firecracker')
    writeFileSync(slow, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 })
    const runtimeDirectory = world.path('slow')
    const script = `
      import { launchMachine } from 'varve'
      await launchMachine(JSON.parse(process.argv[1]))`
    const options = { binary: { ...world.binary, path: slow }, runtimeDirectory }
    const child = spawn(
      process.execPath,
      ['--input-type=module', '--eval', script, JSON.stringify(options)],
      { stdio: 'inherit' },
    )
    const ended = once(child, 'exit')
    const machines = join(runtimeDirectory, 'machines')
    const record = () => {
      const [name] = existsSync(machines) ? readdirSync(machines).filter((it) => it.startsWith('vm-')) : []
      return name && JSON.parse(readFileSync(join(machines, name, 'machine.json'), 'utf8'))
    }
    while (!record()?.process) await sleep(5)
    const { process: vmm } = record()
    expect(isAlive(vmm)).toBe(true)
    child.kill('SIGTERM')
    expect(await ended).toEqual([null, 'SIGTERM'])
    while (isAlive(vmm)) await sleep(5)
    expect(readdirSync(machines)).toEqual([])
  })

  async function startOwner(): Promise<{
    child: ReturnType<typeof spawn>
    ended: Promise<unknown>
    vm: ProcessIdentity
    directory: string
  }> {
    const child = spawn(process.execPath, [program], {
      env: { ...process.env, VARVE_RUNTIME_DIR: world.runtimeDirectory, FIRECRACKER: world.binary.path },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)))
    const [line] = (await new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve)))
      .toString()
      .split('\n')
    return { child, ended, ...JSON.parse(line as string) }
  }

  const gone = async (identity: ProcessIdentity) => {
    for (let waited = 0; waited < 5000 && isAlive(identity); waited += 10) await sleep(10)
    return !isAlive(identity)
  }

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s ends VM and directory, and the owner dies of the signal',
    async (signal) => {
      const { child, ended, vm, directory } = await startOwner()
      child.kill(signal)
      expect(await ended).toBe(signal)
      expect(await gone(vm)).toBe(true)
      expect(existsSync(directory)).toBe(false)
    },
  )

  test('SIGKILL leaves the VM for the next listing, which ends it', async () => {
    const { child, ended, vm, directory } = await startOwner()
    child.kill('SIGKILL')
    await ended
    expect(isAlive(vm)).toBe(true)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
    expect(await gone(vm)).toBe(true)
    expect(existsSync(directory)).toBe(false)
  })
})
