import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NativeAgent, nativeAgent } from './agent-fixture.js'
import { frameKind, tag, verb } from './bounds.js'
import { AnswerFields, encodeFields, type Field } from './fields.js'
import { encodeFrame, FrameReader, preamble, preambleBytes } from './frames.js'

/** What a host that breaks the protocol can do to the agent: end its own connection. */
let native: NativeAgent
beforeAll(async () => {
  native = await nativeAgent()
})
afterAll(async () => {
  await native[Symbol.asyncDispose]()
})

const request = (name: number, fields: readonly Field[] = []) =>
  encodeFrame(frameKind.open, 0, Buffer.concat([Buffer.from([name, 0, 0, 0]), encodeFields(fields)]))
const exec = (...args: string[]) =>
  request(
    verb.exec,
    args.map((it) => [tag.arg, it]),
  )

/** Sends bytes as they are, and gives what came until the agent had nothing more to say. */
async function converse(...pieces: (Buffer | number)[]): Promise<Buffer> {
  const socket = connect(native.address.path)
  const chunks: Buffer[] = []
  const over = new Promise<void>((resolve) => socket.on('error', () => {}).on('close', () => resolve()))
  const answered = new Promise<void>((resolve) =>
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (isOver(Buffer.concat(chunks))) resolve()
    }),
  )
  for (const piece of pieces)
    if (typeof piece === 'number') await sleep(piece)
    else socket.write(piece)
  await Promise.race([over, answered, sleep(500)])
  socket.destroy()
  await over
  return Buffer.concat(chunks)
}

/** The kinds of frames in an answer, and the code of FAIL. */
function framesIn(answer: Buffer): (number | string)[] {
  const found: (number | string)[] = []
  new FrameReader().push(answer.subarray(preambleBytes), (kind, _, payload) =>
    found.push(kind === frameKind.fail ? (new AnswerFields(payload).text(tag.code) ?? '') : kind),
  )
  return found
}

const isOver = (answer: Buffer) => {
  const last = framesIn(answer).at(-1)
  return typeof last === 'string' || last === frameKind.result
}

const header = (length: number, kind: number, stream = 0, zero = 0) => {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(length, 0)
  bytes[4] = kind
  bytes[5] = stream
  bytes.writeUInt16LE(zero, 6)
  return bytes
}

/** The agent still answers, and has grown by nothing that matters. */
async function unharmed(): Promise<void> {
  expect((await native.agent.exec(['echo', 'well'])).stdout.toString()).toBe('well\n')
  expect(native.residentBytes()).toBeLessThan(1024 * 1024)
}

describe('a host that breaks the protocol', () => {
  const sleeping = exec('sleep', '98771')
  test.each<[string, Buffer[]]>([
    ['a request of 4 GiB', [header(0xffff_ffff, frameKind.open)]],
    ['a request beyond the cap', [header(65_537, frameKind.open)]],
    ['data of 4 GiB', [sleeping, header(0xffff_ffff, frameKind.data)]],
    [
      'data without credit',
      [
        sleeping,
        encodeFrame(frameKind.data, 0, Buffer.alloc(16_384)),
        encodeFrame(frameKind.data, 0, Buffer.alloc(16_384)),
        encodeFrame(frameKind.data, 0, Buffer.alloc(16_384)),
      ],
    ],
    ['data of a stream from the guest', [sleeping, encodeFrame(frameKind.data, 1, Buffer.alloc(1))]],
    ['data of no bytes', [sleeping, encodeFrame(frameKind.data, 0, Buffer.alloc(0))]],
    [
      'data after the end',
      [
        sleeping,
        encodeFrame(frameKind.end, 0, Buffer.alloc(0)),
        encodeFrame(frameKind.data, 0, Buffer.alloc(1)),
      ],
    ],
    ['too much credit', [sleeping, encodeFrame(frameKind.credit, 1, Buffer.from('ffffffff', 'hex'))]],
    ['credit of another stream', [sleeping, encodeFrame(frameKind.credit, 0, Buffer.alloc(4))]],
    ['a credit of three bytes', [sleeping, encodeFrame(frameKind.credit, 1, Buffer.alloc(3))]],
    ['signal 0', [sleeping, encodeFrame(frameKind.signal, 0, Buffer.from([0]))]],
    ['signal 65', [sleeping, encodeFrame(frameKind.signal, 0, Buffer.from([65]))]],
    ['a second request', [sleeping, sleeping]],
    ['data before the request', [encodeFrame(frameKind.data, 0, Buffer.alloc(1))]],
    ['a kind that is not known', [sleeping, encodeFrame(99, 0, Buffer.alloc(0))]],
    ['a kind that only the agent sends', [sleeping, encodeFrame(frameKind.result, 0, Buffer.alloc(0))]],
    ['a header that does not end in zero', [header(4, frameKind.open, 0, 1)]],
    ['a request without a verb', [encodeFrame(frameKind.open, 0, Buffer.alloc(3))]],
    [
      'a field that ends behind its frame',
      [encodeFrame(frameKind.open, 0, Buffer.from([2, 0, 0, 0, 1, 0, 255, 255, 0]))],
    ],
    ['a half field', [encodeFrame(frameKind.open, 0, Buffer.from([2, 0, 0, 0, 1, 0]))]],
    [
      '2,049 fields',
      [
        request(
          verb.exec,
          Array.from({ length: 2049 }, () => [999, '']),
        ),
      ],
    ],
    [
      '1,025 arguments',
      [
        request(
          verb.exec,
          Array.from({ length: 1025 }, () => [tag.arg, 'x']),
        ),
      ],
    ],
    ['a zero byte in an argument', [exec('a\0b')]],
    ['exec without a program', [request(verb.exec)]],
    [
      'a terminal of one byte',
      [
        request(verb.exec, [
          [tag.arg, 'true'],
          [tag.tty, 'x'],
        ]),
      ],
    ],
    [
      'a time limit of an age',
      [
        request(verb.exec, [
          [tag.arg, 'true'],
          [tag.timeout, 2n ** 63n],
        ]),
      ],
    ],
    [
      'a hook that is a path',
      [
        request(verb.hook, [
          [tag.name, '../../x'],
          [tag.timeout, 1000],
        ]),
      ],
    ],
    ['a hook without a limit', [request(verb.hook, [[tag.name, 'run']])]],
    [
      'a function that is a path',
      [
        request(verb.start, [
          [tag.name, '../x'],
          [tag.arg, 'true'],
        ]),
      ],
    ],
    [
      'an input of 4 GiB',
      [
        request(verb.invoke, [
          [tag.name, 'x'],
          [tag.size, 2 ** 32],
        ]),
      ],
    ],
    ['a relative path', [request(verb.put, [[tag.path, 'a/b']])]],
    ['a path that is too long', [request(verb.get, [[tag.path, `/${'x'.repeat(5000)}`]])]],
    ['a path that ends in a folder', [request(verb.put, [[tag.path, '/tmp/']])]],
  ])('%s is BAD_REQUEST', async (_, pieces) => {
    expect(framesIn(await converse(preamble(), ...pieces)).at(-1)).toBe('BAD_REQUEST')
    await unharmed()
  })

  test('a verb that is not known is said to be that', async () => {
    expect(framesIn(await converse(preamble(), request(77)))).toEqual(['UNKNOWN_VERB'])
  })

  test('another version is answered by ours, and nothing else', async () => {
    expect(await converse(preamble(9), exec('true'))).toEqual(preamble())
    expect(await converse(Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toEqual(preamble())
  })

  test('frames in pieces of one byte are frames', async () => {
    const socket = connect(native.address.path)
    socket.setNoDelay(true)
    let answer = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
    })
    for (const byte of Buffer.concat([
      preamble(),
      encodeFrame(frameKind.ping, 0, Buffer.alloc(0)),
      request(verb.ping),
    ])) {
      socket.write(Buffer.from([byte]))
      await new Promise((done) => setImmediate(done))
    }
    for (let tries = 0; !isOver(answer) && tries < 100; tries++) await sleep(10)
    expect(framesIn(answer)).toEqual([frameKind.pong, frameKind.result])
    socket.destroy()
  })

  test('a host that asks and never reads costs one buffer', async () => {
    const sockets: Socket[] = []
    for (let n = 0; n < 20; n++) {
      const socket = connect(native.address.path)
      socket.on('error', () => {}).pause()
      const credit = Buffer.alloc(4)
      credit.writeUInt32LE(1024 * 1024)
      socket.write(Buffer.concat([preamble(), exec('yes'), encodeFrame(frameKind.credit, 1, credit)]))
      const pings = Buffer.concat(
        Array.from({ length: 10_000 }, () => encodeFrame(frameKind.ping, 0, Buffer.alloc(0))),
      )
      socket.write(pings)
      sockets.push(socket)
    }
    await sleep(300)
    expect((await native.agent.exec(['echo', 'well'])).stdout.toString()).toBe('well\n')
    expect(native.residentBytes()).toBeLessThan(20 * 140 * 1024 + 1024 * 1024)
    for (const socket of sockets) socket.destroy()
    await sleep(100)
    await unharmed()
  })

  test('connections that never finish their request are closed after 10 s, and others are served meanwhile', async () => {
    const slow = Array.from({ length: 63 }, () => {
      const socket = connect(native.address.path)
      let closed = false
      socket
        .on('error', () => {})
        .on('close', () => {
          closed = true
        })
      socket.on('data', () => {})
      socket.write(preamble())
      socket.write(exec('true').subarray(0, 5))
      return { socket, isClosed: () => closed }
    })
    await sleep(200)
    await unharmed()
    for (let tries = 0; tries < 12; tries++) {
      for (const { socket } of slow) if (socket.writable) socket.write(Buffer.from([0]))
      await sleep(1000)
    }
    for (let tries = 0; tries < 60 && !slow.every((it) => it.isClosed()); tries++) await sleep(100)
    expect(slow.every((it) => it.isClosed())).toBe(true)
    await unharmed()
  }, 40_000)

  test('random frames end their connection and nothing else', async () => {
    const frame = fc
      .record({
        kind: fc.integer({ min: 0, max: 13 }),
        stream: fc.integer({ min: 0, max: 3 }),
        payload: fc.uint8Array({ maxLength: 200 }),
        length: fc.option(fc.nat({ max: 0xffff_ffff }), { freq: 10 }),
      })
      .map(({ kind, stream, payload, length }) => {
        const bytes = encodeFrame(kind, stream, payload)
        if (length !== null) bytes.writeUInt32LE(length, 0)
        return bytes
      })
    const start = fc.constantFrom(
      exec('cat'),
      exec('true'),
      request(verb.memory),
      request(verb.list),
      Buffer.alloc(0),
    )
    await fc.assert(
      fc.asyncProperty(
        start,
        fc.array(frame, { maxLength: 12 }),
        fc.uint8Array({ maxLength: 40 }),
        async (...[first, frames, rest]) => {
          const socket = connect(native.address.path)
          const over = new Promise<void>((resolve) =>
            socket.on('error', () => {}).on('close', () => resolve()),
          )
          socket.on('data', () => {})
          socket.end(Buffer.concat([preamble(), first, ...frames, rest]))
          await over
        },
      ),
      { numRuns: 1000 },
    )
    await unharmed()
  }, 60_000)
})
