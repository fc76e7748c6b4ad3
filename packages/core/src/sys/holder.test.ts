import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { bootId, type Holder, holderFromJson, holderLives, ownIdentity, pidNamespace } from './holder.js'
import { holdLife, type LifeLock, lifeLockAt, lockForLife, lookAtLife } from './life-lock.js'

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-holder-'))
  path = join(directory, 'lock')
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const lockAt = (at: string): LifeLock => lifeLockAt(at) as LifeLock
const living = (change: Partial<Holder> = {}): Holder => ({
  ...{ boot: bootId(), pidNamespace: pidNamespace(), process: ownIdentity(), lock: null },
  ...change,
})
const ended = { pid: 2 ** 22, startTime: 1 }
const elsewhere = 'pid:[1]'

describe('a lock', () => {
  test('is held until it is released, by one alone', () => {
    const held = holdLife(path)
    expect(lookAtLife(lockAt(path))).toBe('held')
    expect(holdLife(path)).toBeUndefined()
    held?.release()
    held?.release()
    expect(lookAtLife(lockAt(path))).toBe('free')
  })

  test('goes with an inherited descriptor, and ends with its last process, although that was killed', async () => {
    const fd = openSync(path, 'w')
    expect(lockForLife(fd, path)).toBe(true)
    const child = spawn('sleep', ['600'], { stdio: ['ignore', 'ignore', fd] })
    closeSync(fd)
    expect(lookAtLife(lockAt(path))).toBe('held')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(lookAtLife(lockAt(path))).toBe('free')
  })

  test('of a file that is another one by now, or is gone, tells nothing', () => {
    writeFileSync(path, '')
    const lock = lockAt(path)
    writeFileSync(join(directory, 'other'), '')
    renameSync(join(directory, 'other'), path)
    expect(lookAtLife(lock)).toBe('unknown')
    rmSync(path)
    expect([lookAtLife(lock), lifeLockAt(path)]).toEqual(['unknown', null])
  })
})

describe('a holder', () => {
  test('lives as long as its lock, whatever its pid and namespace say', () => {
    const held = holdLife(path)
    const lock = lockAt(path)
    expect(holderLives(living({ lock, process: ended, pidNamespace: elsewhere }))).toBe(true)
    expect(holderLives(living({ lock, process: ended }))).toBe(true)
    held?.release()
    expect(holderLives(living({ lock }))).toBe(false)
    expect(holderLives(living({ lock, pidNamespace: elsewhere }))).toBe(false)
  })

  test('of another boot has ended', () => {
    expect(holderLives(living({ boot: 'another' }))).toBe(false)
  })

  test('without a lock is judged by its pid, and lives where that names nothing', () => {
    expect(holderLives(living())).toBe(true)
    expect(holderLives(living({ process: ended }))).toBe(false)
    expect(holderLives(living({ process: ended, pidNamespace: elsewhere }))).toBe(true)
  })

  test('is read as it was written; what is none is not', () => {
    const lock = { path: '/x', device: '1', inode: '2' }
    for (const it of [living(), living({ lock })])
      expect(holderFromJson(JSON.parse(JSON.stringify(it)))).toEqual(it)
    for (const wrong of [
      null,
      'x',
      {},
      { ...living(), process: null },
      { ...living(), process: { pid: 0, startTime: 1 } },
      { ...living(), process: { pid: 1.5, startTime: 1 } },
      { ...living(), boot: 'x'.repeat(5000) },
      { ...living(), lock: 'this file' },
      { ...living(), lock: { ...lock, path: 'relative' } },
      { ...living(), lock: { ...lock, inode: 2 } },
    ])
      expect(holderFromJson(wrong)).toBeUndefined()
  })
})
