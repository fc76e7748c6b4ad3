import { closeSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, SCM_RIGHTS, SO_PEERCRED, SOL_SOCKET } from './abi.js'
import { declare, errno, errnoNumber, koffi, syscallError } from './libc.js'

// struct msghdr on 64-bit Linux: name, namelen, iov, iovlen, control, controllen, flags (56 bytes); struct
// iovec: base, length (16); struct cmsghdr: length, level, type (16), then the descriptors.
const headerBytes = 56
const vectorBytes = 16
const controlHeaderBytes = 16
/** Room for a few more descriptors than are allowed, so that extra ones arrive and can be closed. */
const receivedAtMost = 16
/** SCM_MAX_FD (include/net/scm.h). */
export const maxPassedDescriptors = 253

// Safe: `message` is a buffer of 56 bytes whose pointers lead into buffers that
// are kept alive by their owner.
const recvmsg = declare<[number, Uint8Array, number], number | bigint>(
  'int64_t recvmsg(int fd, uint8_t *message, int flags)',
)
const sendmsg = declare<[number, Uint8Array, number], number | bigint>(
  'int64_t sendmsg(int fd, uint8_t *message, int flags)',
)
// Safe: both buffers live for the call; struct ucred is 12 bytes.
const getsockopt = declare<[number, number, number, Uint8Array, Uint8Array]>(
  'int getsockopt(int fd, int level, int option, uint8_t *value, uint8_t *length)',
)

/** One msghdr with one vector and room for descriptors; the memory is the C heap's and stays where it is. */
class Message {
  readonly header = Buffer.alloc(headerBytes)
  readonly payload: Buffer
  readonly control: Buffer
  readonly #pointers: unknown[]

  constructor(payloadBytes: number, descriptors: number) {
    // Control messages are padded to words.
    const controlBytes = controlHeaderBytes + Math.ceil(descriptors / 2) * 8
    const payload = allocate(payloadBytes)
    const control = allocate(controlBytes)
    const vector = allocate(vectorBytes)
    this.#pointers = [payload.pointer, control.pointer, vector.pointer]
    this.payload = payload.bytes
    this.control = control.bytes
    vector.bytes.writeBigUInt64LE(payload.address, 0)
    vector.bytes.writeBigUInt64LE(BigInt(payloadBytes), 8)
    this.header.writeBigUInt64LE(vector.address, 16)
    this.header.writeBigUInt64LE(1n, 24)
    this.header.writeBigUInt64LE(control.address, 32)
    this.header.writeBigUInt64LE(BigInt(controlBytes), 40)
  }

  [Symbol.dispose](): void {
    for (const pointer of this.#pointers.splice(0)) koffi().free(pointer)
  }
}

function allocate(bytes: number): { pointer: unknown; address: bigint; bytes: Buffer } {
  const pointer = koffi().alloc('uint8_t', bytes)
  return {
    pointer,
    address: BigInt(koffi().address(pointer)),
    bytes: Buffer.from(koffi().view(pointer, bytes)),
  }
}

interface ReceivedMessage {
  /** Payload bytes; empty at end of file. */
  readonly bytes: Buffer
  /** Descriptors that came with it; the caller owns them. Close-on-exec is set. */
  readonly descriptors: readonly number[]
}

/**
 * One recvmsg(2), without waiting, of at most `maxBytes` with the descriptors that came along
 * (SCM_RIGHTS). Undefined if nothing is pending. Control data that did not fit is
 * PAGE_SERVER_PROTOCOL; descriptors of it are closed.
 */
export function receiveMessage(socket: number, maxBytes: number): ReceivedMessage | undefined {
  using message = new Message(maxBytes, receivedAtMost)
  const count = Number(recvmsg(socket, message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
  if (count < 0) {
    const number = errno()
    if (number === errnoNumber.EAGAIN || number === errnoNumber.EINTR) return undefined
    throw syscallError('recvmsg', number, `socket ${socket}`)
  }
  const descriptors = descriptorsIn(message.control, Number(message.header.readBigUInt64LE(40)))
  if ((message.header.readInt32LE(48) & MSG_CTRUNC) !== 0) {
    for (const fd of descriptors) closeSync(fd)
    throw new VarveError('PAGE_SERVER_PROTOCOL', 'a peer sent more descriptors than fit')
  }
  return { bytes: Buffer.from(message.payload.subarray(0, count)), descriptors }
}

/** Walks the control messages: lengths are the kernel's, and bounded by the buffer all the same. */
function descriptorsIn(control: Buffer, length: number): number[] {
  const found: number[] = []
  for (let at = 0; at + controlHeaderBytes <= Math.min(length, control.length); ) {
    const size = Number(control.readBigUInt64LE(at))
    if (size < controlHeaderBytes || at + size > control.length) break
    if (control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS)
      for (let fd = at + controlHeaderBytes; fd + 4 <= at + size; fd += 4) found.push(control.readInt32LE(fd))
    at += Math.ceil(size / 8) * 8
  }
  return found
}

/** Sends bytes with descriptors over a connected Unix socket, as Firecracker does. */
export function sendMessage(socket: number, bytes: Uint8Array, descriptors: readonly number[]): void {
  if (descriptors.length > maxPassedDescriptors)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${descriptors.length} descriptors are more than ${maxPassedDescriptors}`,
    )
  using message = new Message(bytes.length, descriptors.length)
  message.payload.set(bytes)
  const size = controlHeaderBytes + 4 * descriptors.length
  message.control.writeBigUInt64LE(BigInt(size), 0)
  message.control.writeInt32LE(SOL_SOCKET, 8)
  message.control.writeInt32LE(SCM_RIGHTS, 12)
  descriptors.forEach((fd, index) => {
    message.control.writeInt32LE(fd, controlHeaderBytes + 4 * index)
  })
  message.header.writeBigUInt64LE(descriptors.length === 0 ? 0n : BigInt(Math.ceil(size / 8) * 8), 40)
  const sent = Number(sendmsg(socket, message.header, 0))
  if (sent < 0) throw syscallError('sendmsg', errno(), `socket ${socket}`)
  if (sent !== bytes.length)
    throw syscallError('sendmsg', errnoNumber.EMSGSIZE, `sent ${sent} of ${bytes.length} bytes`)
}

interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** Who is at the other end of a connected Unix socket, as the kernel noted at connect time (SO_PEERCRED). */
export function peerCredentials(socket: number): PeerCredentials {
  const value = Buffer.alloc(12)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(value.length)
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, value, length) !== 0)
    throw syscallError('getsockopt', errno(), `SO_PEERCRED of socket ${socket}`)
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}
