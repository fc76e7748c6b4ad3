import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AgentCall } from './agent-call.js'
import { type NativeAgent, nativeAgent } from './agent-fixture.js'
import { tag } from './bounds.js'

/**
 * A function for the tests. It answers an input `WORD REST` by what WORD says.
 */
const program = `
const fs = require('node:fs')
const take = (count) => {
  const data = Buffer.alloc(count)
  for (let at = 0; at < count; ) {
    const got = fs.readSync(3, data, at, count - at, null)
    if (got === 0) process.exit(0)
    at += got
  }
  return data
}
const reply = (status, data, length = data.length) => {
  const head = Buffer.alloc(13)
  head[0] = status
  head.writeBigUInt64LE(1500n, 1)
  head.writeUInt32LE(length, 9)
  const whole = Buffer.concat([head, data])
  for (let at = 0; at < whole.length; ) at += fs.writeSync(4, whole, at)
}
if (process.argv[2] === 'broken') { reply(1, Buffer.from('no such module')); process.exit(1) }
if (process.argv[2] === 'dead') { console.error('dying words'); process.exit(3) }
if (process.argv[2] === 'early') { reply(0, Buffer.alloc(0)); take(4); reply(0, Buffer.from('soon')) }
if (process.argv[2] === 'mute' || process.argv[2] === 'early') setInterval(() => {}, 1000)
else {
  reply(0, Buffer.alloc(0))
  for (let calls = 1; ; calls++) {
    const input = take(take(4).readUInt32LE())
    const [word, rest = ''] = input.toString('latin1', 0, 100).split(' ')
    if (word === 'exit') { console.error('last words'); process.exit(Number(rest)) }
    if (word === 'dying') { fs.writeSync(2, 'x'.repeat(1_000_000) + 'end'); process.exit(1) }
    if (word === 'sleep') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(rest))
    if (word === 'fail') reply(1, Buffer.from('it went wrong'))
    else if (word === 'long') reply(0, Buffer.alloc(10), 0xffffffff)
    else if (word === 'mirror') reply(0, input)
    else if (word === 'chatty') { for (let n = 0; n < 500; n++) fs.writeSync(2, 'x'.repeat(100_000)); reply(0, input) }
    else if (word === 'twice') { reply(0, Buffer.from('1')); reply(0, Buffer.from('2')) }
    else reply(0, Buffer.from(String(calls)))
  }
}
`

let native: NativeAgent
let path: string
beforeAll(async () => {
  native = await nativeAgent()
  path = join(native.directory, 'function.cjs')
  writeFileSync(path, program)
})
afterAll(async () => {
  await native[Symbol.asyncDispose]()
})

const start = (name: string, ...args: string[]) =>
  native.agent.functions.start(name, [process.execPath, path, ...args])
const invoke = (name: string, input: string | Buffer = '', options = {}) =>
  native.agent.functions.invoke(name, input, options)

describe('functions', () => {
  test('stay, and answer one call after another', async () => {
    const { pid, startMs } = await start('count')
    expect(startMs).toBeGreaterThan(0)
    for (let n = 1; n <= 3; n++) {
      const { output, handlerMs, guestMs } = await invoke('count')
      expect([output.toString(), handlerMs]).toEqual([String(n), 1.5])
      expect(guestMs).toBeGreaterThan(0)
    }
    expect(await native.agent.functions.list()).toContainEqual({
      name: 'count',
      pid,
      calls: 3,
      running: true,
    })
    expect((await native.agent.memory()).functions).toContainEqual({
      name: 'count',
      pid,
      residentKib: expect.toSatisfy((kib: number) => kib > 10_000),
    })
    await native.agent.functions.stop('count')
    await expect(invoke('count')).rejects.toMatchObject({ details: { agentCode: 'NO_FUNCTION' } })
  })

  test('16 MiB go in and come out', async () => {
    await start('mirror')
    const input = Buffer.alloc(16 * 1024 * 1024, 'mirror ')
    const { output } = await invoke('mirror', input)
    expect(output.equals(input)).toBe(true)
    await expect(invoke('mirror', Buffer.alloc(input.length + 1))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })

  test('calls at the same time follow each other, in order', async () => {
    await start('queue')
    const outputs = await Promise.all(Array.from({ length: 20 }, () => invoke('queue')))
    expect(outputs.map(({ output }) => Number(output)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, n) => n + 1),
    )
  })

  test.each([
    ['a function that says it is broken', ['broken'], 'no such module'],
    ['a process that ends', ['dead'], 'dying words'],
  ])('start refuses %s, with its words', async (_, args, words) => {
    await expect(start('bad', ...args)).rejects.toMatchObject({
      code: 'GUEST_REFUSED',
      details: { agentCode: 'START_FAILED' },
      message: expect.stringContaining(words),
    })
    expect((await native.agent.functions.list()).map(({ name }) => name)).not.toContain('bad')
  })

  test('start refuses a program that is not there, and one that says nothing in time', async () => {
    await expect(native.agent.functions.start('none', ['/no/such'])).rejects.toMatchObject({
      details: { agentCode: 'SPAWN_FAILED', errno: 2 },
    })
    const mute = native.agent.functions.start('mute', [process.execPath, path, 'mute'], { timeoutMs: 500 })
    await expect(mute).rejects.toMatchObject({ code: 'TIMEOUT' })
    const names = (await native.agent.functions.list()).map(({ name }) => name)
    expect(names).not.toContain('mute')
    expect(names).not.toContain('none')
  })

  test('an error of the function is not the end of its process', async () => {
    await start('faulty')
    await expect(invoke('faulty', 'fail')).rejects.toMatchObject({
      details: { agentCode: 'FUNCTION_FAILED' },
      message: expect.stringContaining('it went wrong'),
    })
    expect((await invoke('faulty')).output.toString()).toBe('2')
  })

  test('a process that ends in a call is told with its last words; then it must be started again', async () => {
    await start('mortal')
    await expect(invoke('mortal', 'exit 3')).rejects.toMatchObject({
      details: { agentCode: 'FUNCTION_ENDED' },
      message: expect.stringContaining('last words'),
    })
    await expect(invoke('mortal')).rejects.toMatchObject({ details: { agentCode: 'FUNCTION_ENDED' } })
    await start('mortal')
    expect((await invoke('mortal')).output.toString()).toBe('1')
  })

  test('a function that writes without end is heard, and what it wrote is not kept', async () => {
    await start('chatty')
    await invoke('chatty', 'chatty')
    const descriptors = readdirSync(`/proc/${native.pid}/fd`)
    const kept = descriptors.map((fd) => statSync(`/proc/${native.pid}/fd/${fd}`).size)
    expect(kept.reduce((sum, it) => sum + it, 0)).toBeLessThan(1_000_000)
    expect(native.residentBytes()).toBeLessThan(1024 * 1024)
    await expect(invoke('chatty', 'exit 3')).rejects.toThrow(/: last words\n?$/)
    await native.agent.functions.stop('chatty')
    await start('chatty')
    await expect(invoke('chatty', 'dying')).rejects.toThrow(/x{900}end$/)
  })

  test('an answer that claims 4 GiB ends the function', async () => {
    await start('liar')
    await expect(invoke('liar', 'long')).rejects.toMatchObject({ details: { agentCode: 'TOO_LONG' } })
  })

  test('a call that takes too long ends the function', async () => {
    await start('slow')
    await expect(invoke('slow', 'sleep 5000', { timeoutMs: 300 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(invoke('slow')).rejects.toMatchObject({ details: { agentCode: 'FUNCTION_ENDED' } })
  })

  test('a call whose input is not read ends in time as well', async () => {
    const loaded = 'printf "\\\\0%012d" 0 | tr 0 "\\\\0" >&4; exec sleep 1000'
    await native.agent.functions.start('deaf', ['sh', '-c', loaded])
    const call = invoke('deaf', Buffer.alloc(1024 * 1024), { timeoutMs: 300 })
    await expect(call).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  test('a function that is at work keeps no other waiting', async () => {
    await start('slow')
    await start('quick')
    let slowIsDone = false
    const slow = invoke('slow', 'sleep 1000').then(() => {
      slowIsDone = true
    })
    expect((await invoke('quick')).output.toString()).toBe('1')
    expect(slowIsDone).toBe(false)
    await slow
  })

  test('a call that is given up after its input was sent leaves the function running', async () => {
    await start('left')
    const given = invoke('left', 'sleep 500', { signal: AbortSignal.timeout(200) })
    await expect(given).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect((await invoke('left')).output.toString()).toBe('2')
  })

  test('a call that is given up in the middle of its input ends the function', async () => {
    await start('half')
    const fields = [[tag.name, 'half'] as const, [tag.size, 1_000_000] as const]
    const call = await AgentCall.open(native.address, 'invoke', fields)
    await call.accepted
    await call.input.write(Buffer.alloc(1000))
    call[Symbol.dispose]()
    await sleep(100)
    await expect(invoke('half')).rejects.toMatchObject({ details: { agentCode: 'FUNCTION_ENDED' } })
  })

  test('what is left in the pipes of a call is never taken for a part of the next', async () => {
    const next = (name: string) =>
      expect(invoke(name, 'next')).rejects.toMatchObject({ details: { agentCode: 'FUNCTION_ENDED' } })
    for (const bytes of [10, 1_000_000]) {
      await start('early', 'early')
      expect((await invoke('early', Buffer.alloc(bytes))).output.toString()).toBe('soon')
      await next('early')
    }
    await start('twice')
    expect((await invoke('twice', 'twice')).output.toString()).toBe('1')
    await sleep(100)
    await next('twice')
  })

  test('a function that is started again replaces the first, and fails calls of it', async () => {
    const { pid } = await start('twice')
    const pending = invoke('twice', 'sleep 5000')
    pending.catch(() => {})
    await sleep(200)
    expect((await start('twice')).pid).not.toBe(pid)
    await expect(pending).rejects.toMatchObject({ details: { agentCode: 'FUNCTION_ENDED' } })
    expect((await invoke('twice')).output.toString()).toBe('1')
  })

  test('64 functions, and no more', async () => {
    await using other = await nativeAgent()
    const script = 'printf "\\\\0%012d" 0 | tr 0 "\\\\0" >&4; exec sleep 1000'
    const started = (n: number) => other.agent.functions.start(`f${n}`, ['sh', '-c', script])
    for (let n = 0; n < 64; n++) await started(n)
    await expect(started(64)).rejects.toMatchObject({ details: { agentCode: 'FAILED' } })
    await other.agent.functions.stop('f0')
    await started(64)
    expect((await other.agent.functions.list()).filter(({ running }) => running)).toHaveLength(64)
    for (let n = 1; n <= 64; n++) await other.agent.functions.stop(`f${n}`)
  }, 60_000)
})
