import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { frameKind, maxDataBytes, tag, windowBytes } from './bounds.js'
import { encodeFields, type Field } from './fields.js'
import { encodeFrame, FrameReader, preamble } from './frames.js'
import { type GuestAgent, guestAgent } from './guest-agent.js'
import { collect } from './run-command.js'

/** What a guest that breaks the protocol can do to the host: make its own calls fail. */
let directory: string
let path: string
let server: Server
let sockets: Socket[]
let agent: GuestAgent

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-agent-'))
  path = join(directory, 'v.sock')
  sockets = []
  agent = guestAgent(path)
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise<void>((done) => server.close(() => done()))
  rmSync(directory, { recursive: true })
})

/** A guest behind Firecracker's vsock: `serve` is called when the first frame has come. */
function guest(serve: (socket: Socket, connection: number) => void, first = preamble()): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket)
    const connection = sockets.length
    let state: 'connecting' | 'greeting' | 'asked' | 'served' = 'connecting'
    socket.on('error', () => {})
    socket.on('data', () => {
      if (state === 'connecting') socket.write('OK 1\n')
      else if (state === 'greeting') socket.write(first)
      else if (state === 'asked') serve(socket, connection)
      state = state === 'connecting' ? 'greeting' : state === 'greeting' ? 'asked' : 'served'
    })
  })
  return new Promise((done) => server.listen(path, done))
}

const fields = (kind: number, ...list: Field[]) => encodeFrame(kind, 0, encodeFields(list))
const accepted = fields(frameKind.accepted, [tag.pid, 7])
const data = (bytes: Buffer, stream = 1) => encodeFrame(frameKind.data, stream, bytes)
const ended = fields(frameKind.result, [tag.exit, 0], [tag.elapsed, 1])
const length = (bytes: number, kind: number) => {
  const header = Buffer.alloc(8)
  header.writeUInt32LE(bytes, 0)
  header[4] = kind
  return header
}

describe('a guest that breaks the protocol', () => {
  test.each<[string, Buffer[]]>([
    ['a result of 4 GiB', [length(0xffff_ffff, frameKind.result)]],
    ['a result beyond the cap', [length(16_385, frameKind.result)]],
    ['data beyond the cap', [accepted, length(maxDataBytes + 1, frameKind.data)]],
    ['data of no bytes', [accepted, data(Buffer.alloc(0))]],
    ['data of another stream', [accepted, data(Buffer.from('x'), 0)]],
    ['data of a stream that there is not', [accepted, data(Buffer.from('x'), 9)]],
    [
      'more data than it was given credit for',
      [
        accepted,
        ...Array.from({ length: windowBytes / maxDataBytes + 1 }, () => data(Buffer.alloc(maxDataBytes))),
      ],
    ],
    [
      'data after the end of its stream',
      [accepted, encodeFrame(frameKind.end, 1, Buffer.alloc(0)), data(Buffer.from('x'))],
    ],
    ['a frame of another kind', [encodeFrame(77, 0, Buffer.alloc(0))]],
    ['a frame that only a host sends', [encodeFrame(frameKind.open, 0, Buffer.alloc(4))]],
    ['a PONG that was not asked for', [encodeFrame(frameKind.pong, 0, Buffer.alloc(16))]],
    ['endless credit', [accepted, encodeFrame(frameKind.credit, 0, Buffer.from('ffffffff', 'hex'))]],
    ['half a field', [encodeFrame(frameKind.accepted, 0, Buffer.from([39, 0, 8]))]],
    [
      'a field that ends behind its frame',
      [encodeFrame(frameKind.accepted, 0, Buffer.from([39, 0, 255, 255, 1]))],
    ],
    ['2,049 fields', [encodeFrame(frameKind.accepted, 0, Buffer.alloc(2049 * 4))]],
    ['no pid', [encodeFrame(frameKind.accepted, 0, Buffer.alloc(0))]],
    ['a pid beyond counting', [fields(frameKind.accepted, [tag.pid, 2n ** 63n])]],
    ['a pid of three bytes', [fields(frameKind.accepted, [tag.pid, Buffer.alloc(3)])]],
    ['a result without a status', [accepted, fields(frameKind.result, [tag.elapsed, 1])]],
    ['exit status 256', [accepted, fields(frameKind.result, [tag.exit, 256], [tag.elapsed, 1])]],
    [
      '257 steps',
      [accepted, ...Array.from({ length: 257 }, () => fields(frameKind.step, [tag.step, Buffer.alloc(8)]))],
    ],
    ['a step without a time', [accepted, fields(frameKind.step, [tag.step, 'x'])]],
  ])('%s is GUEST_PROTOCOL', async (_, frames) => {
    await guest((socket) => socket.write(Buffer.concat(frames)))
    // Nothing reads the output, so that no further credit is given.
    const command = agent.start(['true'], { connectMs: 2_000 })
    const result = command.then((it) => it.result)
    await expect(result).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
    expect(sockets).toHaveLength(1)
  })

  test('a version that this client does not know says which', async () => {
    await guest(() => {}, preamble(9))
    await expect(agent.ping()).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: expect.stringContaining('an agent that speaks version 9'),
    })
  })

  test('another program behind the port is no agent', async () => {
    await guest(() => {}, Buffer.from('HTTP/1.1 200 OK\r\n'))
    await expect(agent.ping()).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
  })

  test('half a frame, and then nothing, is a TIMEOUT', async () => {
    await guest((socket) => socket.write(ended.subarray(0, 11)))
    await expect(agent.ping({ timeoutMs: 300 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(agent.exec(['true'], { signal: AbortSignal.timeout(300) })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
  })

  test('a guest that greets and never answers is a TIMEOUT', async () => {
    await guest(() => {})
    await expect(agent.ping({ timeoutMs: 200 })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  test('connections that end before the greeting are made again; a request is sent once', async () => {
    let requests = 0
    await guest((socket) => {
      requests++
      socket.write(fields(frameKind.result, [tag.agent, 'x'], [tag.pid, 1], [tag.uptime, 5]))
    })
    server.prependListener('connection', (socket: Socket) => {
      if (sockets.length < 2) socket.destroy()
    })
    expect(await agent.ping()).toEqual({ agent: 'x', pid: 1, uptimeMs: 5 })
    expect([sockets.length, requests]).toEqual([3, 1])
  })

  test('a call whose connection ends is GUEST_LOST, in its streams too, and is not repeated', async () => {
    await guest((socket) => {
      socket.write(Buffer.concat([accepted, data(Buffer.from('some'))]))
      setTimeout(() => socket.destroy(), 100)
    })
    const command = await agent.start(['true'])
    const read = async () => {
      for await (const _ of command.stdout);
    }
    await expect(read()).rejects.toMatchObject({ code: 'GUEST_LOST' })
    await expect(command.result).rejects.toMatchObject({ code: 'GUEST_LOST' })
    await expect(command.stdin.write('x')).rejects.toMatchObject({ code: 'GUEST_LOST' })
    expect(sockets).toHaveLength(1)
  })

  test('a silent guest is asked for a sign of life, which shows a connection that is gone', async () => {
    await guest((socket) => {
      socket.write(accepted)
      // As the guest's kernel answers a packet of a connection that it no longer has.
      socket.once('data', () => socket.once('data', () => socket.destroy()))
    })
    await using command = await agent.start(['true'])
    await command.stdin.end()
    await expect(command.result).rejects.toMatchObject({ code: 'GUEST_LOST' })
  }, 15_000)

  test('what a guest says reaches a terminal without control characters', async () => {
    await guest((socket) =>
      socket.write(
        fields(frameKind.fail, [tag.code, 'FAILED'], [tag.message, '\u001b]0;owned\u0007\u009b31mred\nline']),
      ),
    )
    await expect(agent.ping()).rejects.toMatchObject({
      code: 'GUEST_REFUSED',
      message: expect.stringContaining('FAILED: ]0;owned31mred\nline'),
    })
  })

  test('names of steps reach a terminal without control characters', async () => {
    const step = Buffer.concat([Buffer.alloc(8), Buffer.from('\u001b[31mred\u009b')])
    await guest((socket) =>
      socket.write(Buffer.concat([fields(frameKind.step, [tag.step, step]), fields(frameKind.result)])),
    )
    expect((await agent.hook('run')).steps).toEqual([{ name: '[31mred', ms: 0 }])
  })

  test('what a function says of its failure has no control characters', async () => {
    const result = fields(frameKind.result, [tag.status, 1], [tag.handler, 0], [tag.elapsed, 0])
    await guest((socket) =>
      socket.write(Buffer.concat([fields(frameKind.accepted), data(Buffer.from('\u001b[2Jno'), 2), result])),
    )
    await expect(agent.functions.invoke('f')).rejects.toMatchObject({ message: 'invoke of f: [2Jno' })
  })

  test('credit without reading lets no content pile up', async () => {
    await guest((socket) => {
      socket.pause().write(accepted)
      const credit = encodeFrame(frameKind.credit, 0, Buffer.from([0, 0, 1, 0]))
      const give = () => {
        if (!socket.destroyed) socket.write(credit, () => setTimeout(give, 1))
      }
      give()
    })
    let taken = 0
    const content = async function* () {
      for (; taken < 100; taken++) yield Buffer.alloc(2 ** 20)
    }
    const put = agent.put('/f', content(), { signal: AbortSignal.timeout(1_500) })
    // What the guest has not used of its credit is at most 1 MiB; more breaks the protocol.
    await expect(put).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
    expect(taken).toBeLessThan(4)
  })

  test('more output than is wanted ends the call', async () => {
    await guest((socket) => {
      socket.write(accepted)
      const send = () => {
        for (let n = 0; n < 8; n++) if (socket.writable) socket.write(data(Buffer.alloc(maxDataBytes)))
      }
      send()
      socket.on('data', () => send())
    })
    await expect(agent.exec(['x'], { maxOutputBytes: 300_000 })).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
    })
  })

  test('random frames fail a call, and cost no more than a window of memory', async () => {
    const frame = fc
      .record({
        kind: fc.integer({ min: 0, max: 13 }),
        stream: fc.integer({ min: 0, max: 3 }),
        payload: fc.uint8Array({ maxLength: 300 }),
        length: fc.option(fc.nat({ max: 0xffff_ffff }), { freq: 10 }),
      })
      .map(({ kind, stream, payload, length }) => {
        const bytes = encodeFrame(kind, stream, payload)
        if (length !== null) bytes.writeUInt32LE(length, 0)
        return bytes
      })
    let frames: Buffer[] = []
    await guest((socket) => socket.end(Buffer.concat([accepted, ...frames])))
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 10 }), async (given) => {
        frames = given
        const outcome = await agent.exec(['x'], { timeoutMs: 5_000 }).catch((error: unknown) => error)
        expect(['GUEST_PROTOCOL', 'GUEST_LOST', 'GUEST_REFUSED', 'TIMEOUT', undefined]).toContain(
          (outcome as { code?: string }).code,
        )
      }),
      { numRuns: 300 },
    )
  }, 60_000)
})

describe('FrameReader', () => {
  test('frames come out as they went in, however they are cut', () => {
    const frame = fc.record({
      kind: fc.constantFrom(3, 8, 9),
      stream: fc.nat({ max: 2 }),
      payload: fc.uint8Array({ maxLength: 50 }),
    })
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 40 })),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map((it) => encodeFrame(it.kind, it.stream, it.payload)))
          const reader = new FrameReader()
          const found: unknown[] = []
          const take = (chunk: Buffer) =>
            reader.push(chunk, (kind, stream, payload) =>
              found.push({ kind, stream, payload: new Uint8Array(payload) }),
            )
          let at = 0
          for (const cut of cuts) {
            take(bytes.subarray(at, at + cut))
            at += cut
          }
          take(bytes.subarray(at))
          expect(found).toEqual(frames)
        },
      ),
    )
  })
})

test('a reader that waits keeps no more than a window, however small the pieces are', async () => {
  await guest((socket) => {
    const bytes = Buffer.concat(Array.from({ length: 40_000 }, () => data(Buffer.from('x'))))
    socket.write(Buffer.concat([accepted, bytes]))
  })
  const before = process.memoryUsage().arrayBuffers
  await using command = await agent.start(['x'])
  await sleep(300)
  // 40,000 bytes in frames of one byte: 360 KB came, and 40 KB are kept in pieces of 4 KiB; what was read and
  // is garbage counts too. Kept frame by frame, in pieces of 4 KiB, they would be 160 MB.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20_000_000)
  let got = 0
  for await (const chunk of command.stdout) {
    got += chunk.length
    if (got >= 40_000) break
  }
  expect(got).toBe(40_000)
})

test('output that comes byte by byte costs no more than it has', async () => {
  const before = process.memoryUsage().arrayBuffers
  let atEnd = 0
  async function* single() {
    for (let n = 0; n < 60_000; n++) yield Buffer.from(new ArrayBuffer(4096), 0, 1)
    atEnd = process.memoryUsage().arrayBuffers
  }
  expect(await collect(single(), 2 ** 24, 'a test')).toHaveLength(60_000)
  // Kept chunks would be 240 MB.
  expect(atEnd - before).toBeLessThan(200_000_000)
})
