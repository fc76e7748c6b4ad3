import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import koffi from 'koffi'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { peerCredentials, receiveMessage, sendMessage } from './fd-passing.js'

const socketpair = koffi
  .load(null)
  .func('int socketpair(int domain, int type, int protocol, _Out_ int32_t *sockets)')
const AF_UNIX = 1
const SOCK_STREAM = 1

let here: number
let there: number
beforeEach(() => {
  const sockets = new Int32Array(2)
  expect(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)).toBe(0)
  ;[here, there] = sockets as unknown as [number, number]
})
afterEach(() => {
  for (const fd of [here, there]) closeSync(fd)
})

const openDescriptors = () => readdirSync('/proc/self/fd').length
const inode = (fd: number) => fstatSync(fd, { bigint: true }).ino

test('bytes alone arrive alone; nothing pending and end of file are told apart', () => {
  expect(receiveMessage(there, 100)).toBeUndefined()
  sendMessage(here, Buffer.from('hello'), [])
  expect(receiveMessage(there, 100)).toEqual({ bytes: Buffer.from('hello'), descriptors: [] })
  expect(receiveMessage(there, 100)).toBeUndefined()
  closeSync(here)
  expect(receiveMessage(there, 100)).toEqual({ bytes: Buffer.alloc(0), descriptors: [] })
  here = openSync('/dev/null', 'r')
})

test.each([1, 2, 5, 16])('%i descriptors arrive as new ones of the same files, close-on-exec', (count) => {
  const files = Array.from({ length: count }, (_, index) =>
    openSync(index % 2 ? '/dev/zero' : '/dev/null', 'r'),
  )
  const before = openDescriptors()
  sendMessage(here, Buffer.from([7]), files)
  const message = receiveMessage(there, 64 * 1024)
  expect(message?.bytes).toEqual(Buffer.from([7]))
  expect(message?.descriptors).toHaveLength(count)
  message?.descriptors.forEach((fd, index) => {
    expect(files).not.toContain(fd)
    expect(inode(fd)).toBe(inode(files[index] as number))
    closeSync(fd)
  })
  expect(openDescriptors()).toBe(before)
  for (const fd of files) closeSync(fd)
})

test('a message longer than was asked for comes in parts, its descriptor with the first', () => {
  const bytes = Buffer.from(Array.from({ length: 100 }, (_, index) => index))
  const zero = openSync('/dev/zero', 'r')
  sendMessage(here, bytes, [zero])
  const first = receiveMessage(there, 60)
  const second = receiveMessage(there, 60)
  expect(Buffer.concat([first?.bytes ?? bytes, second?.bytes ?? bytes])).toEqual(bytes)
  expect(first?.descriptors).toHaveLength(1)
  expect(second?.descriptors).toHaveLength(0)
  const received = first?.descriptors[0] as number
  const byte = Buffer.from([9])
  expect(readSync(received, byte)).toBe(1)
  expect(byte[0]).toBe(0)
  for (const fd of [zero, received]) closeSync(fd)
})

test('more descriptors than fit are refused, and none of them stays open', () => {
  const zero = openSync('/dev/zero', 'r')
  sendTooMany(here, zero, 17)
  const before = openDescriptors()
  try {
    receiveMessage(there, 10)
    expect.unreachable()
  } catch (error) {
    expect(isVarveError(error, 'PAGE_SERVER_PROTOCOL')).toBe(true)
  }
  expect(openDescriptors()).toBe(before)
  expect(() => sendMessage(here, Buffer.from([1]), Array<number>(254).fill(zero))).toThrow('more than 253')
  closeSync(zero)
})

test('a peer that is gone, and a descriptor that is no socket, are named errors', () => {
  closeSync(there)
  expect(() => sendMessage(here, Buffer.from([1]), [])).toThrow('EPIPE')
  there = openSync('/dev/null', 'r')
  expect(() => receiveMessage(there, 10)).toThrow('ENOTSOCK')
  expect(() => peerCredentials(there)).toThrow('ENOTSOCK')
})

test('the peer of a pair made here is this process', () => {
  expect(peerCredentials(there)).toEqual({
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  })
})

/** What `sendMessage` refuses to do: the kernel allows 253 descriptors a message. */
function sendTooMany(socket: number, fd: number, count: number): void {
  const sendmsg = koffi.load(null).func('int64_t sendmsg(int fd, uint8_t *message, int flags)')
  const memory = koffi.alloc('uint8_t', 4096)
  const address = BigInt(koffi.address(memory))
  const bytes = Buffer.from(koffi.view(memory, 4096))
  bytes.fill(0)
  // msghdr at 0, iovec at 64, payload at 96, control at 128: see fd-passing.ts for the layouts.
  bytes.writeBigUInt64LE(address + 64n, 16)
  bytes.writeBigUInt64LE(1n, 24)
  bytes.writeBigUInt64LE(address + 128n, 32)
  bytes.writeBigUInt64LE(BigInt(16 + 4 * count + ((4 * count) % 8)), 40)
  bytes.writeBigUInt64LE(address + 96n, 64)
  bytes.writeBigUInt64LE(1n, 72)
  bytes.writeBigUInt64LE(BigInt(16 + 4 * count), 128)
  bytes.writeInt32LE(1, 136)
  bytes.writeInt32LE(1, 140)
  for (let index = 0; index < count; index++) bytes.writeInt32LE(fd, 144 + 4 * index)
  expect(Number(sendmsg(socket, bytes.subarray(0, 56), 0))).toBe(1)
  koffi.free(memory)
}
