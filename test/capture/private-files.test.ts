import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { bootMachine, launchMachine } from 'varve'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const here = (name: string) => ({ name, ...world.launch })
const umaskOf = (pid: number) => /^Umask:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]

test('guest memory is for its user alone while Firecracker writes it into a directory that others can read', async () => {
  const directory = world.path('open')
  mkdirSync(directory, { mode: 0o755 })
  await using machine = await bootMachine({ kernel: world.kernel, memoryMib: 512, vcpus: 1 }, here('secret'))
  const paused = await machine.pause()
  const [statePath, memoryPath] = [join(directory, 'state'), join(directory, 'memory')]
  let written = false
  const writing = paused.snapshot({ type: 'Full', statePath, memoryPath }).finally(() => {
    written = true
  })
  const seen = new Set<number>()
  while (!written) {
    for (const path of [statePath, memoryPath]) {
      const stat = statSync(path, { throwIfNoEntry: false })
      if (stat !== undefined) seen.add(stat.mode & 0o777)
    }
    await new Promise(setImmediate)
  }
  await writing
  expect([...seen]).toEqual([0o600])
})

test('every VMM has umask 077, also a jailed one; the process that starts it keeps its own', async () => {
  const before = process.umask(0o022)
  try {
    await using plain = await launchMachine(here('plain'))
    const chrootBaseDir = world.path('jail')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    const jailer = { uid: 123, gid: 123, chrootBaseDir }
    await using jailed = await launchMachine({ ...here('jailed'), jailer })
    expect([umaskOf(plain.pid), umaskOf(jailed.pid)]).toEqual(['0077', '0077'])
    expect(umaskOf(process.pid)).toBe('0022')
  } finally {
    process.umask(before)
  }
})
