import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { frameKind, tag } from './bounds.js'
import { AnswerFields, encodeFields } from './fields.js'
import type { FixUpOptions } from './fix-up.js'
import { encodeFrame, preamble } from './frames.js'
import { guestAgent } from './guest-agent.js'
import { wallClock } from './wall-clock.js'

/** A guest whose clock the tests choose. Setting it misses by `misses` milliseconds, one after the other. */
let directory: string
let path: string
let server: Server
let offsetMs: number
let misses: number[]
let delayMs: number
const sockets = new Set<Socket>()

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-clock-'))
  path = join(directory, 'agent.sock')
  offsetMs = -86_400_000
  misses = []
  delayMs = 0
  server = createServer((socket) => {
    sockets.add(socket)
    let bytes = Buffer.alloc(0)
    let greeted = false
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      if (!greeted && bytes.length >= 8) {
        greeted = true
        bytes = bytes.subarray(8)
        socket.write(preamble())
      }
      while (bytes.length >= 8 && bytes.length >= 8 + bytes.readUInt32LE(0)) {
        const length = bytes.readUInt32LE(0)
        const kind = bytes[4] as number
        const payload = Buffer.from(bytes.subarray(8, 8 + length))
        travel()
        answer(socket, kind, payload)
        bytes = bytes.subarray(8 + length)
      }
    })
  })
  await new Promise<void>((done) => server.listen(path, done))
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise<void>((done) => server.close(() => done()))
  rmSync(directory, { recursive: true })
})

/** The way to the guest or back: the same both ways, which timers would not be. */
const travel = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs)
const guestNow = () => wallClock()() + BigInt(Math.round(offsetMs * 1e6))

function answer(socket: Socket, kind: number, payload: Buffer): void {
  if (kind === frameKind.ping) {
    const pong = Buffer.alloc(16)
    pong.writeBigInt64LE(guestNow(), 0)
    travel()
    socket.write(encodeFrame(frameKind.pong, 0, pong))
  }
  if (kind !== frameKind.open) return
  const clock = new AnswerFields(payload.subarray(4)).all(tag.clock)[0]
  const was = Buffer.alloc(8)
  was.writeBigInt64LE(guestNow())
  if (clock !== undefined)
    offsetMs = Number(clock.readBigUInt64LE() - wallClock()()) / 1e6 + (misses.shift() ?? 0)
  socket.write(encodeFrame(frameKind.result, 0, encodeFields(clock === undefined ? [] : [[tag.was, was]])))
}

const fixUp = (options?: FixUpOptions) =>
  guestAgent({ path, direct: true }).fixUp({ entropy: false, scriptsMs: false }, options)

test('the guest gets the host’s time, to within 5 ms, and its clock before is told', async () => {
  const { clock } = await fixUp()
  expect(clock?.beforeMs).toBeCloseTo(-86_400_000, -2)
  expect(Math.abs(clock?.afterMs as number)).toBeLessThan(5)
})

test('half of the way is added: a slow way to the guest does not make its clock late', async () => {
  delayMs = 20
  const { clock } = await fixUp()
  expect(clock?.uncertaintyMs).toBeGreaterThan(15)
  expect(Math.abs(clock?.afterMs as number)).toBeLessThan(5)
})

test('a clock that is still wrong is set again', async () => {
  misses = [300, -40]
  expect(Math.abs((await fixUp()).clock?.afterMs as number)).toBeLessThan(5)
  expect(misses).toEqual([])
})

test('a clock that stays wrong is an error that says by how much', async () => {
  misses = Array(20).fill(300)
  await expect(fixUp()).rejects.toMatchObject({
    code: 'GUEST_PROTOCOL',
    message: expect.stringMatching(/clock is (29\d|30\d)\.\d ms away/),
  })
})

test('a guest that is slow and stays wrong keeps a fix-up no longer than its time limit', async () => {
  misses = Array(20).fill(300)
  delayMs = 5
  // One try is well within it, and all tries together are not.
  await expect(fixUp({ timeoutMs: 700 })).rejects.toMatchObject({ code: 'TIMEOUT' })
})
