import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connectVsock } from './vsock.js'

/** A peer that breaks the handshake: the real Firecracker cannot be made to do so. */
let directory: string
let path: string
let server: Server | undefined
let accepted: Socket[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-vsock-'))
  path = join(directory, 'v.sock')
  accepted = []
})

afterEach(async () => {
  for (const socket of accepted) socket.destroy()
  await new Promise<void>((done) => (server ? server.close(() => done()) : done()))
  server = undefined
  rmSync(directory, { recursive: true })
})

function peer(serve: (socket: Socket, connection: number) => void): Promise<void> {
  server = createServer((socket) => {
    socket.on('error', () => {})
    accepted.push(socket)
    serve(socket, accepted.length)
  })
  return new Promise((done) => server?.listen(path, done))
}

describe('connectVsock', () => {
  test('asks for the port and keeps bytes that come with the answer', async () => {
    let asked = ''
    await peer((socket) =>
      socket.on('data', (chunk) => {
        asked += chunk.toString()
        if (asked.endsWith('\n')) socket.end('OK 1073741824\nfirst words')
      }),
    )
    const socket = await connectVsock(path, 52)
    expect(asked).toBe('CONNECT 52\n')
    expect(await text(socket)).toBe('first words')
  })

  test('takes an answer that comes byte by byte', async () => {
    await peer((socket) => {
      socket.setNoDelay(true)
      const bytes = [...'OK 7\nx']
      const next = () => {
        const byte = bytes.shift()
        if (byte === undefined) return void socket.end()
        socket.write(byte, () => setImmediate(next))
      }
      next()
    })
    expect(await text(await connectVsock(path, 1))).toBe('x')
  })

  test('connects again after a reset, up to the limit', async () => {
    await peer((socket, connection) => {
      if (connection < 3) socket.end()
      else socket.write('OK 1\n')
    })
    const socket = await connectVsock(path, 1, { attempts: 3 })
    socket.destroy()
    expect(accepted).toHaveLength(3)
  })

  test('gives up at the limit', async () => {
    await peer((socket) => socket.end())
    await expect(connectVsock(path, 9, { attempts: 2 })).rejects.toMatchObject({
      code: 'API_TRANSPORT',
      message: `${path} port 9: closed without an answer, 2 times`,
    })
    expect(accepted).toHaveLength(2)
  })

  test.each([
    ['another word', 'NO 1\n'],
    ['no number', 'OK x\n'],
    ['a number beyond 32 bits', 'OK 99999999999\n'],
    ['an endless line', 'OK 11111111111111111111111111111111111111111'],
    ['bytes', '\0\0\0\0\n'],
  ])('refuses %s, without another try', async (_, answer) => {
    await peer((socket) => socket.write(answer))
    await expect(connectVsock(path, 1)).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
    expect(accepted).toHaveLength(1)
  })

  test('a peer that never answers is a TIMEOUT', async () => {
    await peer(() => {})
    await expect(connectVsock(path, 1, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  test('a socket that is not there is API_TRANSPORT', async () => {
    await expect(connectVsock(path, 1, { attempts: 2 })).rejects.toMatchObject({ code: 'API_TRANSPORT' })
  })

  test('an abort signal ends the wait', async () => {
    await peer(() => {})
    const controller = new AbortController()
    const pending = connectVsock(path, 1, { signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(pending).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })

  test('refuses ports and counts out of range', async () => {
    await expect(connectVsock(path, 2 ** 32)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(connectVsock(path, 1, { attempts: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
