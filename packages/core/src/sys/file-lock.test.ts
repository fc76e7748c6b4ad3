import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lock, tryLock, withShortLock } from './file-lock.js'

let directory: string
let path: string
const children: ChildProcess[] = []
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-lock-'))
  path = join(directory, 'lock')
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(directory, { recursive: true })
})

/**
 * Another process that holds the lock: flock(1) of util-linux, which becomes the
 * program and keeps the descriptor.
 */
async function otherHolder(): Promise<ChildProcess> {
  const child = spawn('flock', ['--no-fork', '--exclusive', path, 'sleep', '600'], { stdio: 'ignore' })
  children.push(child)
  await once(child, 'spawn')
  for (;;) {
    const held = await tryLock(path)
    if (held === undefined) return child
    await held[Symbol.asyncDispose]()
    await sleep(2)
  }
}

describe('within a process', () => {
  test('one holds it, the next gets it afterwards', async () => {
    const first = await tryLock(path)
    expect(first?.path).toBe(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(await tryLock(path)).toBeUndefined()
    const order: string[] = []
    const waiting = lock(path, { onWait: () => order.push('waits') }).then((held) => {
      order.push('holds')
      return held
    })
    await sleep(20)
    order.push('released')
    await first?.[Symbol.asyncDispose]()
    await using _second = await waiting
    expect(order).toEqual(['waits', 'released', 'holds'])
    expect(await tryLock(path)).toBeUndefined()
  })

  test('of many that want it, each holds it alone', async () => {
    let holders = 0
    let turns = 0
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        await using _held = await lock(path)
        expect(++holders).toBe(1)
        await sleep(1)
        holders--
        turns++
      }),
    )
    expect(turns).toBe(8)
  })

  test('an abort ends the wait, before it and in it', async () => {
    await using _held = await lock(path)
    await expect(lock(path, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(lock(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' })
    const aborter = new AbortController()
    const waiting = lock(path, { signal: aborter.signal, onWait: () => setImmediate(() => aborter.abort()) })
    await expect(waiting).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringContaining(path),
    })
  })

  test('a symbolic link in its place is refused', async () => {
    symlinkSync(join(directory, 'elsewhere'), path)
    await expect(tryLock(path)).rejects.toMatchObject({ code: 'ELOOP' })
    expect(() => withShortLock(path, () => {})).toThrow('ELOOP')
  })
})

describe('between processes', () => {
  test('a holder that is killed releases it', async () => {
    const holder = await otherHolder()
    const waiting = lock(path)
    expect(await Promise.race([waiting, sleep(30).then(() => 'waits')])).toBe('waits')
    holder.kill('SIGKILL')
    await using held = await waiting
    expect(held.path).toBe(path)
  })

  test('a timeout of the signal ends the wait for another process', async () => {
    const holder = await otherHolder()
    await expect(lock(path, { signal: AbortSignal.timeout(30) })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
    expect(holder.exitCode).toBeNull()
  })

  test('a short lock waits in the thread, and gives the result', async () => {
    const holder = spawn('flock', ['--no-fork', '--exclusive', path, 'sleep', '0.3'], { stdio: 'ignore' })
    children.push(holder)
    for (let held = await tryLock(path); held !== undefined; held = await tryLock(path)) {
      await held[Symbol.asyncDispose]()
      await sleep(2)
    }
    const tryElsewhere = () => spawnSync('flock', ['--nonblock', '--exclusive', path, 'true']).status
    expect(withShortLock(path, tryElsewhere)).toBe(1)
    expect(tryElsewhere()).toBe(0)
    expect(() =>
      withShortLock(path, () => {
        throw new Error('inner')
      }),
    ).toThrow('inner')
    expect(tryElsewhere()).toBe(0)
  })
})
