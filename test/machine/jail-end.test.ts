import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { launchMachine, listMachines } from 'varve'
import { isAlive } from 'varve/testing'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const uid = 12345
const world = microWorldOfFile()

const launchInJail = (name: string) => {
  const chrootBaseDir = world.path(`${name}-jail`)
  mkdirSync(chrootBaseDir, { mode: 0o700 })
  return launchMachine({ name, ...world.launch, jailer: { uid, gid: uid, chrootBaseDir } })
}

/** A process in the jail, as a VMM that was taken over could start it. */
async function startInside(root: string) {
  const script = `chroot($ARGV[0]) or die; chdir "/"; $( = $) = ${uid}; $< = $> = ${uid}; $| = 1; print "in"; sleep 60`
  const child = spawn('perl', ['-e', script, root], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}

test('a process that a VMM has started in its jail ends with it', async () => {
  await using machine = await launchInJail('started')
  const root = dirname(machine.paths.apiSocket)
  const child = await startInside(root)
  const ended = once(child, 'exit')
  await machine.stop()
  expect(await ended).toEqual([null, 'SIGKILL'])
  expect(existsSync(dirname(root))).toBe(false)
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
