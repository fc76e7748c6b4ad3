import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MicroConsole } from '@varve/lab'
import {
  bootMachine,
  connectMachine,
  type LaunchMachineOptions,
  listMachines,
  logUse,
  type RunningMachine,
  stopMachine,
} from 'varve'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const boot = (name: string, options: LaunchMachineOptions = {}) =>
  bootMachine({ kernel: world.kernel, memoryMib: 16, vcpus: 1 }, { name, ...world.launch, ...options })

const mib = 2 ** 20
/** As Firecracker does for a guest that never stops talking. */
const flood = (path: string) => appendFileSync(path, `${'a line of a guest '.repeat(7)}\r\n`.repeat(8 * 8192))

const diskBytes = (path: string) => statSync(path).blocks * 512
const bounded = (path: string) =>
  expect.poll(() => diskBytes(path), { timeout: 20_000, interval: 100 }).toBeLessThan(2.2 * mib)

/** The guest still talks and is heard. */
async function talks(machine: RunningMachine): Promise<void> {
  await using console = MicroConsole.attach(machine.paths)
  await console.ping()
}

/** The processes that hold the lock of the runtime directory's log keeper. */
function keepers(): number[] {
  const lock = join(world.runtimeDirectory, 'log-keeper.lock')
  const pids = execFileSync('ls', ['/proc'], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => /^\d+$/.test(name))
  return pids.map(Number).filter((pid) => {
    try {
      const fds = execFileSync('ls', [`/proc/${pid}/fd`], { encoding: 'utf8', stdio: 'pipe' })
        .trim()
        .split('\n')
      return fds.some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === lock)
    } catch {
      return false
    }
  })
}

test('the console of a machine stays within its bounds under its owner, and says how much is gone', async () => {
  await using machine = await boot('owned')
  const { consoleOutput } = machine.paths
  await talks(machine)
  flood(consoleOutput)
  await bounded(consoleOutput)
  const { writtenBytes, droppedBytes } = logUse(consoleOutput)
  expect(writtenBytes).toBeGreaterThan(8 * mib)
  expect(writtenBytes - droppedBytes).toBeGreaterThanOrEqual(mib)
  expect(readFileSync(consoleOutput).subarray(droppedBytes).includes(0)).toBe(false)
  await talks(machine)
})

test('the log of a Firecracker in a jail stays within the same bounds, and is written on', async () => {
  mkdirSync(world.path('jails'), { mode: 0o700 })
  const uid = 12345
  const jailer = { uid, gid: uid, chrootBaseDir: world.path('jails') }
  await using machine = await boot('jailed', { jailer })
  const { log } = machine.paths
  // Two lines a request. Firecracker does not append, but writes at its own place in the file.
  while (statSync(log).size < 3 * mib) await machine.info()
  await bounded(log)
  await machine.pause()
  const { writtenBytes, droppedBytes } = logUse(log)
  expect(writtenBytes).toBeGreaterThan(3 * mib)
  expect(writtenBytes - droppedBytes).toBeGreaterThanOrEqual(mib)
  expect(readFileSync(log, 'utf8').slice(-2000)).toMatch(/received a Patch request on "\/vm"/)
  expect(statSync(log).uid).toBe(uid)
})

/** Whether systemd-tmpfiles could take away what is old: it takes this lock first (tmpfiles.d(5)). */
const mayAge = (runtime: string) => spawnSync('flock', ['--nonblock', runtime, 'true']).status === 0

test('a runtime directory does not age while it has machines, owned or detached', async () => {
  const runtimeDirectory = world.path('old')
  const machine = await boot('old', { runtimeDirectory })
  expect(mayAge(runtimeDirectory)).toBe(false)
  machine.detach()
  await expect.poll(() => mayAge(runtimeDirectory), { timeout: 20_000 }).toBe(false)
  await stopMachine('old', { runtimeDirectory })
  await expect.poll(() => mayAge(runtimeDirectory), { timeout: 20_000, interval: 200 }).toBe(true)
})

test('a detached machine whose VMM was killed is gone soon, with its directory, although no command looks', async () => {
  const machine = await boot('killed')
  const { pid, paths } = machine
  machine.detach()
  await expect.poll(keepers, { timeout: 20_000 }).toHaveLength(1)
  process.kill(pid, 'SIGKILL')
  await expect.poll(() => existsSync(paths.directory), { timeout: 30_000, interval: 200 }).toBe(false)
  await expect.poll(keepers, { timeout: 20_000, interval: 200 }).toEqual([])
})

test('and of a detached one, although the keeper of its logs was killed and a command came by since', async () => {
  const machine = await boot('alone')
  const { consoleOutput } = machine.paths
  machine.detach()
  flood(consoleOutput)
  await bounded(consoleOutput)
  const [keeper, ...others] = keepers()
  expect(others).toEqual([])
  process.kill(keeper as number, 'SIGKILL')
  await expect.poll(keepers).toEqual([])
  listMachines(world.runtimeDirectory)
  flood(consoleOutput)
  await bounded(consoleOutput)
  await using again = (await connectMachine('alone', {
    runtimeDirectory: world.runtimeDirectory,
  })) as RunningMachine
  await talks(again)
  await again.stop()
  await expect.poll(keepers, { timeout: 20_000, interval: 200 }).toEqual([])
})
