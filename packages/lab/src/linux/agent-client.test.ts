import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { maxAgentBytes, maxAgentHeaderBytes } from './agent-bounds.js'
import { connectAgent, type GuestAgent, guestAgent } from './agent-client.js'

/**
 * Guests that break the protocol, which our agent cannot be made to do; the agent itself is tested in
 * test/linux/agent.test.ts.
 */
let directory: string
let path: string
let server: Server
let sockets: Socket[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-agent-'))
  path = join(directory, 'v.sock')
  sockets = []
})

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise<void>((done) => server.close(() => done()))
  rmSync(directory, { recursive: true })
})

interface Request {
  readonly op: string
  readonly [field: string]: unknown
}

/**
 * Answers the handshake and each later request (they come in one piece) by what `answer`
 * gives; null closes the connection.
 */
function guest(answer: (request: Request, body: string, connection: number) => Buffer | null): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket)
    const connection = sockets.length
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      if (chunk.toString('latin1').startsWith('CONNECT')) return void socket.write('OK 1\n')
      const bodyAt = 8 + chunk.readUInt32LE(0)
      const request = JSON.parse(chunk.toString('utf8', 8, bodyAt)) as Request
      const reply = answer(request, chunk.toString('utf8', bodyAt), connection)
      if (reply === null) socket.destroy()
      else socket.write(reply)
    })
  })
  return new Promise((done) => server.listen(path, done))
}

function frame(header: unknown, body = ''): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeUInt32LE(text.length, 0)
  prefix.writeUInt32LE(Buffer.byteLength(body), 4)
  return Buffer.concat([prefix, text, Buffer.from(body)])
}

const pong = frame({ ok: true, agent: 'varve-agent', version: 2, uptimeMs: 5 })
const answered = (output: string) => frame({ ok: true, guestUs: 1500, handlerUs: 1000 }, output)
const afterPing = (reply: Buffer | null) => (request: Request) => (request.op === 'ping' ? pong : reply)

describe('guestAgent', () => {
  test('sends name and bytes, and gives the bytes of the reply with the guest’s times', async () => {
    const requests: unknown[] = []
    await guest((request, body) => {
      requests.push([request, body])
      return request.op === 'ping' ? pong : answered('he\nlo')
    })
    const { output, guestMs, handlerMs, firstAnswerMs, totalMs } = await guestAgent(path).invoke(
      'hello',
      'wörld',
      {
        timeoutMs: 10_000,
      },
    )
    expect(output.toString()).toBe('he\nlo')
    expect({ guestMs, handlerMs }).toEqual({ guestMs: 1.5, handlerMs: 1 })
    expect(totalMs).toBeGreaterThan(firstAnswerMs)
    expect(requests).toEqual([
      [{ op: 'ping' }, ''],
      [{ op: 'invoke', function: 'hello', timeoutMs: 9_000 }, 'wörld'],
    ])
  })

  test('puts a program as a file that is executable, and starts it', async () => {
    const requests: unknown[] = []
    await guest((request, body) => {
      if (request.op === 'ping') return pong
      requests.push([request, body])
      return frame({ ok: true, startUs: 1, pid: null })
    })
    await guestAgent(path).put('hello', '#!/bin/sh\n', { timeoutMs: 1000 })
    expect(requests).toEqual([
      [{ op: 'put', function: 'hello', file: 'program', executable: true }, '#!/bin/sh\n'],
      [{ op: 'start', function: 'hello', runtime: 'program', file: 'program', timeoutMs: 900 }, ''],
    ])
  })

  test('takes a reply in pieces of one byte', async () => {
    await guest(afterPing(null))
    server.removeAllListeners('connection')
    server.on('connection', (socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      socket.on('data', async (chunk) => {
        const whole = chunk.toString('latin1')
        const reply = whole.startsWith('CONNECT')
          ? Buffer.from('OK 1\n')
          : whole.includes('ping')
            ? pong
            : answered('abc')
        for (const byte of reply) {
          socket.write(Buffer.from([byte]))
          await new Promise((done) => setImmediate(done))
        }
      })
    })
    expect((await guestAgent(path).invoke('hello')).output.toString()).toBe('abc')
  })

  test('connects again while pings are lost, but sends the invocation once', async () => {
    let invocations = 0
    await guest((request, _, connection) => {
      if (request.op !== 'ping') invocations++
      return connection < 3 ? null : request.op === 'ping' ? pong : answered('x')
    })
    expect((await guestAgent(path).invoke('hello')).output.toString()).toBe('x')
    expect({ connections: sockets.length, invocations }).toEqual({ connections: 3, invocations: 1 })
  })

  test('does not repeat an invocation whose answer is lost', async () => {
    let invocations = 0
    await guest((request) => {
      if (request.op === 'ping') return pong
      invocations++
      return null
    })
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: `invoke hello over ${path}: the guest closed before it answered`,
    })
    expect(invocations).toBe(1)
  })

  test('gives the agent’s words and code on a refusal', async () => {
    await guest(afterPing(frame({ ok: false, code: 'NO_FUNCTION', message: 'no function hello' })))
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: expect.stringContaining('no function hello (NO_FUNCTION)'),
      details: { agentCode: 'NO_FUNCTION' },
    })
  })

  const prefix = (header: number, body: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeUInt32LE(header, 0)
    bytes.writeUInt32LE(body, 4)
    return bytes
  }
  test.each([
    ['a header beyond the cap', prefix(maxAgentHeaderBytes + 1, 0)],
    ['a body beyond the cap', prefix(2, maxAgentBytes + 1)],
    ['an empty header', prefix(0, 0)],
    ['a header that is no JSON', frame('not json')],
    ['a header that is no object', frame('[]')],
    ['a header without ok', frame({ guestUs: 1 })],
    ['a refusal without words', frame({ ok: false, code: 'X' })],
    ['a time that is no number', frame({ ok: true, guestUs: 'soon', handlerUs: 1 })],
    ['a negative time', frame({ ok: true, guestUs: -1, handlerUs: 1 })],
    ['bytes behind the reply', Buffer.concat([answered('a'), Buffer.from('b')])],
  ])('refuses %s', async (_, reply) => {
    await guest(afterPing(reply))
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
  })

  test.each<[string, (agent: GuestAgent) => Promise<unknown>, unknown]>([
    ['list', (agent) => agent.list(), { functions: Array.from({ length: 257 }, () => ({})) }],
    ['list', (agent) => agent.list(), { functions: [null] }],
    [
      'list',
      (agent) => agent.list(),
      { functions: [{ name: 'x', runtime: 'perl', pid: 1, invocations: 0 }] },
    ],
    ['start', (agent) => agent.start('x', { runtime: 'python', file: 'x.py' }), { startUs: 1.5, pid: 1 }],
    ['fix-up', (agent) => agent.fixUp({ clockMs: 1 }), { done: 'clock' }],
    ['memory', (agent) => agent.memory(), { meminfo: { MemTotal: 'much' }, vmstat: {}, functions: [] }],
    ['memory', (agent) => agent.memory(), { meminfo: null, vmstat: {}, functions: [] }],
    ['ping', (agent) => agent.ping(), { agent: 7 }],
  ])('refuses a reply to %s that does not fit', async (op, ask, fields) => {
    const reply = frame({ ok: true, ...(fields as object) })
    await guest((request) => (request.op === 'ping' && op !== 'ping' ? pong : reply))
    await expect(ask(guestAgent(path))).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
  })

  test('a reply that stops short is a TIMEOUT', async () => {
    await guest(afterPing(answered('half').subarray(0, -1)))
    await expect(guestAgent(path).invoke('hello', '', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
  })

  test('an abort signal ends a call', async () => {
    await guest(afterPing(answered('half').subarray(0, -1)))
    const pending = guestAgent(path).invoke('hello', '', { signal: AbortSignal.timeout(50) })
    await expect(pending).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  test.each(['', 'Hello', '-x', 'a/b', '../a', 'a b', 'x'.repeat(33)])(
    'refuses the function name %j',
    async (name) => {
      await guest(() => null)
      await expect(guestAgent(path).invoke(name)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      await expect(guestAgent(path).put(name, '')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      expect(sockets).toHaveLength(0)
    },
  )

  test.each(['', '.hidden', 'a/b', '..', 'x'.repeat(65)])('refuses the file name %j', async (file) => {
    await guest(() => null)
    const agent = guestAgent(path)
    await expect(agent.putFile('f', file, '')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(agent.start('f', { runtime: 'node', file })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    expect(sockets).toHaveLength(0)
  })

  test('refuses what a guest would not take: a host name, too much entropy', async () => {
    await guest(() => null)
    const agent = guestAgent(path)
    await expect(agent.fixUp({ hostname: 'a b' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(agent.fixUp({ entropy: Buffer.alloc(513) })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    await expect(agent.invoke('x', Buffer.alloc(maxAgentBytes + 1))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    expect(sockets).toHaveLength(0)
    expect(() => connectAgent({ vsockPath: null })).toThrow('the machine has no vsock device')
  })
})
