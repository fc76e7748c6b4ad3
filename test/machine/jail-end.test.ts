import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { launchMachine, listMachines, stopMachine } from 'varve'
import { isAlive, tryLock } from 'varve/testing'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const uid = 12345
const world = microWorldOfFile()

const launchInJail = (name: string) => {
  const chrootBaseDir = world.path(`${name}-jail`)
  mkdirSync(chrootBaseDir, { mode: 0o700 })
  return launchMachine({ name, ...world.launch, jailer: { uid, gid: uid, chrootBaseDir } })
}

/**
 * A process in the jail, as a VMM that was taken over could start it. It has the VMM's standard error
 * (pidfd_open and pidfd_getfd), by whose lock the VMM lives.
 */
async function startInside(vmm: number, root: string) {
  const script = `syscall(438, syscall(434, ${vmm}, 0), 2, 0) > 0 or die; chroot($ARGV[0]) or die; chdir "/"; $( = $) = ${uid}; $< = $> = ${uid}; $| = 1; print "in"; sleep 60`
  const child = spawn('perl', ['-e', script, root], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}

test('a process that a VMM has started in its jail ends with it', async () => {
  await using machine = await launchInJail('started')
  const root = dirname(machine.paths.apiSocket)
  const child = await startInside(machine.pid, root)
  const ended = once(child, 'exit')
  await machine.stop()
  expect(await ended).toEqual([null, 'SIGKILL'])
  expect(existsSync(dirname(root))).toBe(false)
})

test('a command that stops the machine ends it too', async () => {
  const machine = await launchInJail('stopped')
  const child = await startInside(machine.pid, dirname(machine.paths.apiSocket))
  const ended = once(child, 'exit')
  // As if the log keeper were busy: it would see after some seconds that the VMM has ended.
  const keeperLock = await tryLock(join(world.runtimeDirectory, 'log-keeper.lock'))
  expect(keeperLock).toBeDefined()
  await using _held = keeperLock as NonNullable<typeof keeperLock>
  machine.detach()
  await stopMachine('stopped', { runtimeDirectory: world.runtimeDirectory })
  expect(await ended).toEqual([null, 'SIGKILL'])
  expect(existsSync(machine.paths.directory)).toBe(false)
})

test('a VMM in a jail that no record names ends with the process that started it', async () => {
  const machine = await launchInJail('unnamed')
  const { identity, paths } = machine
  const recordPath = join(paths.directory, 'machine.json')
  machine.detach()
  // As if its owner had been killed before it could write down the VMM.
  const record = JSON.parse(readFileSync(recordPath, 'utf8'))
  const owner = { pid: process.pid, startTime: 1 }
  writeFileSync(recordPath, JSON.stringify({ ...record, process: null, owner }))
  expect(listMachines(world.runtimeDirectory)).toEqual([])
  expect(isAlive(identity)).toBe(false)
  expect(existsSync(dirname(paths.apiSocket))).toBe(false)
})
