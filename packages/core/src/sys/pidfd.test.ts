import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { makeFifo } from './fifo.js'
import { killProcess, openPidfd } from './pidfd.js'
import { isAlive, openDescriptors, type ProcessIdentity, processIdentity, residentBytes } from './proc.js'

test('a process is killed by identity, and only by its own', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  const ended = new Promise<string | null>((resolve) =>
    child.once('exit', (_code, signal) => resolve(signal)),
  )
  const identity = processIdentity(child.pid as number) as ProcessIdentity
  expect(isAlive(identity)).toBe(true)
  const fd = openPidfd(identity) as number
  expect(fd).toBeGreaterThan(2)
  closeSync(fd)

  const impostor = { pid: identity.pid, startTime: identity.startTime + 1 }
  expect(openPidfd(impostor)).toBeUndefined()
  expect(killProcess(impostor, 'SIGKILL')).toBe(false)
  expect(isAlive(identity)).toBe(true)

  expect(killProcess(identity, 'SIGTERM')).toBe(true)
  expect(await ended).toBe('SIGTERM')
  expect(isAlive(identity)).toBe(false)
  expect(killProcess(identity, 'SIGKILL')).toBe(false)
})

test('/proc facts of this process', () => {
  expect(residentBytes(process.pid)).toBeGreaterThan(1024 * 1024)
  expect(residentBytes(2 ** 22 + 1)).toBeNull()
  expect(openDescriptors(process.pid).map(({ fd }) => fd)).toContain(1)
})

test('a FIFO is made once', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-fifo-'))
  const path = join(directory, 'in')
  makeFifo(path, 0o600)
  expect(statSync(path).isFIFO()).toBe(true)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(() => makeFifo(path, 0o600)).toThrow(VarveError)
  expect(() => makeFifo(path, 0o600)).toThrow('EEXIST')
  rmSync(directory, { recursive: true })
})
