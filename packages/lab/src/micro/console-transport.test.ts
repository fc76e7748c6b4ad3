import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FileTailTransport } from './console-transport.js'

let directory: string
let fifoPath: string
let logPath: string
let transport: FileTailTransport

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-console-'))
  fifoPath = join(directory, 'console.in')
  logPath = join(directory, 'console.log')
  execFileSync('mkfifo', [fifoPath])
  writeFileSync(logPath, '')
  transport = new FileTailTransport({ fifoPath, logPath })
})
afterEach(async () => {
  await transport[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

const code = (name: string) => expect.objectContaining({ code: name })

describe('lines out of a growing file', () => {
  test('whole lines only, in order, however they are cut', async () => {
    appendFileSync(logPath, 'one\r\ntw')
    expect(await transport.readLine()).toBe('one')
    const two = transport.readLine()
    appendFileSync(logPath, 'o\n\nthr')
    expect(await two).toBe('two')
    expect(await transport.readLine()).toBe('')
    const three = transport.readLine()
    appendFileSync(logPath, 'ee\n')
    expect(await three).toBe('three')
  })

  test('an aborted wait loses nothing', async () => {
    appendFileSync(logPath, 'begun')
    const abort = new AbortController()
    const line = transport.readLine({ signal: abort.signal })
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(line).rejects.toBe(reason)
    appendFileSync(logPath, ' and done\n')
    expect(await transport.readLine()).toBe('begun and done')
  })

  test('more than one chunk at once, and a line that never ends', async () => {
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}`)
    appendFileSync(logPath, `${lines.join('\n')}\n`)
    for (const line of lines) expect(await transport.readLine()).toBe(line)
    appendFileSync(logPath, 'x'.repeat(100_000))
    await expect(transport.readLine()).rejects.toThrow(code('GUEST_PROTOCOL'))
  })

  test('a removed file and a closed transport end the wait', async () => {
    const removed = transport.readLine()
    rmSync(logPath)
    await expect(removed).rejects.toThrow(code('MACHINE_EXITED'))
    writeFileSync(logPath, '')
    const other = new FileTailTransport({ fifoPath, logPath })
    const closed = other.readLine()
    await other[Symbol.asyncDispose]()
    await expect(closed).rejects.toThrow(code('MACHINE_STATE'))
    expect(() => new FileTailTransport({ fifoPath, logPath: join(directory, 'none') })).toThrow(
      code('MACHINE_EXITED'),
    )
  })
})

describe('text into a FIFO', () => {
  test('arrives whole; a full FIFO is waited for', async () => {
    const reader = openSync(fifoPath, constants.O_RDWR | constants.O_NONBLOCK)
    try {
      const text = `${'a'.repeat(4095)}\n`
      // A pipe holds sixteen pages.
      for (let i = 0; i < 16; i++) await transport.write(text)
      const signal = AbortSignal.timeout(30)
      await expect(transport.write(text, { signal })).rejects.toThrow()
      const waiting = transport.write('b\n')
      const buffer = Buffer.alloc(16 * 4096)
      expect(readSync(reader, buffer)).toBe(buffer.length)
      await waiting
      expect(buffer.toString('latin1', 0, readSync(reader, buffer))).toBe('b\n')
      await expect(transport.write('c'.repeat(4097))).rejects.toThrow(code('INVALID_ARGUMENT'))
    } finally {
      closeSync(reader)
    }
  })

  test('without a reader, and where there is no FIFO', async () => {
    await expect(transport.write('x\n')).rejects.toThrow(code('MACHINE_EXITED'))
    rmSync(fifoPath)
    writeFileSync(fifoPath, '')
    await expect(transport.write('x\n')).rejects.toThrow(code('PATH_INVALID'))
  })
})
