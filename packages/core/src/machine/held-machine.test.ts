import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { holdMachine, releaseMachine, waitForRelease } from './held-machine.js'

const directory = mkdtempSync(join(tmpdir(), 'varve-held-'))
afterAll(() => rmSync(directory, { recursive: true }))

test('a machine that a live process holds is waited for until that lets go', async () => {
  const path = join(directory, 'held-by.json')
  const script = `setTimeout(() => require('node:fs').rmSync(${JSON.stringify(path)}), 300); setTimeout(() => {}, 60000)`
  const child = spawn(process.execPath, ['-e', script])
  holdMachine(directory, processIdentity(child.pid as number) as ProcessIdentity)
  waitForRelease(directory)
  expect(existsSync(path)).toBe(false)
  child.kill('SIGKILL')
})

test('nobody is waited for who has ended, or is not named', async () => {
  const child = spawn(process.execPath, ['-e', ''])
  const identity = processIdentity(child.pid as number) as ProcessIdentity
  await once(child, 'exit')
  const begin = performance.now()
  holdMachine(directory, identity)
  waitForRelease(directory)
  writeFileSync(join(directory, 'held-by.json'), 'nonsense')
  waitForRelease(directory)
  releaseMachine(directory)
  waitForRelease(directory)
  expect(performance.now() - begin).toBeLessThan(1900)
})
