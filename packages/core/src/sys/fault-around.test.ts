import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { faultAroundObstacle, holdFaultAround } from './fault-around.js'
import { openDescriptors } from './proc.js'

// A plain file in the place of the kernel's: few kernels let a test write that one (root, debugfs, no
// lockdown). What the setting does is shown on a real one by the scenario `ground-truth` in the nested lab.
let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-fault-around-')
  path = join(directory, 'fault_around_bytes')
  writeFileSync(path, '65536\n')
})
afterEach(() => rmSync(directory, { recursive: true }))

const setting = () => readFileSync(path, 'latin1').trim()

test('is one page until the last of several holds is given back', () => {
  const first = holdFaultAround(path)
  expect(setting()).toBe('4096')
  expect(first).toMatchObject({ held: true, bytes: 4096, reason: undefined })
  const second = holdFaultAround(path)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  expect(setting()).toBe('4096')
  second[Symbol.dispose]()
  expect(setting()).toBe('65536')
  expect(openDescriptors(process.pid).filter(({ target }) => target === path)).toEqual([])
})

test('is left alone where there is none, and says why', () => {
  using missing = holdFaultAround(join(directory, 'missing'))
  expect(missing).toMatchObject({ held: false, bytes: 65_536, reason: expect.stringContaining('ENOENT') })
})

test('that a locked-down kernel refuses to root is said to be so, with another way', () => {
  // An immutable file refuses root with EPERM, as debugfs does under kernel_lockdown(7).
  if (spawnSync('chattr', ['+i', path]).status !== 0) throw new Error(`chattr +i ${path} does not work here`)
  try {
    const locked = {
      reason: expect.stringContaining('locked down'),
      remedy: expect.stringContaining('faults recorder'),
    }
    expect(faultAroundObstacle(path)).toEqual(locked)
    using refused = holdFaultAround(path)
    expect(refused).toMatchObject({ held: false, bytes: 65_536, ...locked })
  } finally {
    spawnSync('chattr', ['-i', path])
  }
  expect(faultAroundObstacle(path)).toBeUndefined()
  expect(setting()).toBe('65536')
})

test('is left alone while another process has set it', async () => {
  const other = spawn('flock', ['--no-fork', '--exclusive', path, 'sleep', '600'], { stdio: 'ignore' })
  try {
    while (openDescriptors(other.pid as number).every(({ target }) => target !== path) || isFree())
      await sleep(5)
    writeFileSync(path, '4096\n')
    using mine = holdFaultAround(path)
    expect(mine).toMatchObject({
      held: false,
      bytes: 4096,
      reason: expect.stringContaining('another'),
      remedy: expect.stringContaining('record again'),
    })
  } finally {
    other.kill()
    await once(other, 'exit')
  }
  expect(setting()).toBe('4096')
})

const isFree = () => spawnSync('flock', ['--nonblock', '--exclusive', path, 'true']).status === 0
