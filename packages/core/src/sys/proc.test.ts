import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { isAlive, isEnding, processIdentity, residentBytes } from './proc.js'

/** Taken down only after the process has begun to end, which then takes some 50 ms. */
const heldBytes = 400 * 2 ** 20

test('a killed process that still gives its memory back is ending, although it counts as alive', async () => {
  // One thread, which has read the memory full, and waits for a pipe that is not read.
  const child = spawn('dd', ['if=/dev/zero', `bs=${heldBytes}`, 'count=1'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  try {
    const identity = processIdentity(child.pid ?? 0)
    if (identity === undefined) throw new Error('dd did not start')
    while ((residentBytes(identity.pid) ?? 0) < heldBytes) expect(isEnding(identity)).toBe(false)
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    let seen = 0
    while (isAlive(identity)) if (isEnding(identity)) seen++
    expect(seen).toBeGreaterThan(0)
    expect(isEnding(identity)).toBe(true)
    await ended
    expect(isEnding(identity)).toBe(true)
  } finally {
    child.kill('SIGKILL')
  }
})

test('this process is not ending; one of its pid with another start time has ended', () => {
  const self = processIdentity(process.pid)
  if (self === undefined) throw new Error('no /proc')
  expect(isEnding(self)).toBe(false)
  expect(isEnding({ ...self, startTime: self.startTime - 1 })).toBe(true)
})
