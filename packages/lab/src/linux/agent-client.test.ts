import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { maxAgentBytes } from './agent.js'
import { guestAgent } from './agent-client.js'

/** Guests that break the protocol, which our agent cannot be made to do; the agent itself is tested in the nested lab. */
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

/** Answers the handshake and each later piece of data by what `answer` gives for it; null closes the connection. */
function guest(answer: (request: string, connection: number) => string | null): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket)
    const connection = sockets.length
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      const request = chunk.toString('latin1')
      const reply = request.startsWith('CONNECT') ? 'OK 1\n' : answer(request, connection)
      if (reply === null) socket.destroy()
      else socket.write(reply)
    })
  })
  return new Promise((done) => server.listen(path, done))
}

const pong = 'ok 13\nvarve-agent 1'
const afterPing = (reply: string | null) => (request: string) => (request === 'ping\n' ? pong : reply)

describe('guestAgent', () => {
  test('sends name, length and bytes, and gives the bytes of the reply', async () => {
    const requests: string[] = []
    await guest((request) => {
      requests.push(request)
      return request === 'ping\n' ? pong : 'ok 5\nhe\nlo'
    })
    expect((await guestAgent(path).invoke('hello', 'wörld')).toString()).toBe('he\nlo')
    expect(requests).toEqual(['ping\n', `invoke hello 6\n${Buffer.from('wörld').toString('latin1')}`])
  })

  test('connects again while pings are lost, but sends the invocation once', async () => {
    let invocations = 0
    await guest((request, connection) => {
      if (request !== 'ping\n') invocations++
      return connection < 3 ? null : request === 'ping\n' ? pong : 'ok 1\nx'
    })
    expect((await guestAgent(path).invoke('hello')).toString()).toBe('x')
    expect({ connections: sockets.length, invocations }).toEqual({ connections: 3, invocations: 1 })
  })

  test('does not repeat an invocation whose answer is lost', async () => {
    let invocations = 0
    await guest((request) => {
      if (request === 'ping\n') return pong
      invocations++
      return null
    })
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: `invoke hello over ${path}: the guest closed before it answered`,
    })
    expect(invocations).toBe(1)
  })

  test('gives the agent’s words on a refusal', async () => {
    await guest(afterPing('err 11\nno function'))
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: expect.stringContaining('no function'),
    })
  })

  test.each([
    ['another word', 'yes 3\nabc'],
    ['a length beyond the cap', `ok ${maxAgentBytes + 1}\n`],
    ['a negative length', 'ok -1\n'],
    ['no length', 'ok\n'],
    ['an endless status line', 'o'.repeat(100)],
    ['bytes behind the reply', 'ok 1\nab'],
    ['an empty reply line', '\n'],
  ])('refuses %s', async (_, reply) => {
    await guest(afterPing(reply))
    await expect(guestAgent(path).invoke('hello')).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
  })

  test('a reply that stops short is a TIMEOUT', async () => {
    await guest(afterPing('ok 10\nhalf'))
    await expect(guestAgent(path).invoke('hello', '', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
  })

  test('an abort signal ends a call', async () => {
    await guest(afterPing('ok 10\nhalf'))
    const pending = guestAgent(path).invoke('hello', '', { signal: AbortSignal.timeout(50) })
    await expect(pending).rejects.toMatchObject({ code: 'INTERRUPTED' })
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
})
