import { closeSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { AF_UNIX, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_STREAM } from '../abi.js'
import { maxPassedDescriptors, sendMessage } from '../fd-passing.js'
import { duplicateDescriptor } from '../pidfd.js'
import type { Injection } from './injection.js'
import { systemCall } from './system-call.js'

// Places in the notes of an injection (4 KiB): struct msghdr (56 bytes), struct iovec (16), a byte for the
// payload, the control message (a header of 16 and the descriptors), the two sockets.
const vectorAt = 64
const payloadAt = 96
const socketsAt = 128
const controlAt = 256
const controlHeaderBytes = 16

interface GivenDescriptors {
  /** Their numbers there, in the order of ours. */
  readonly numbers: readonly number[]
  /** What must be closed there afterwards: these descriptors, and the sockets that brought them. */
  readonly toClose: readonly number[]
}

/**
 * Gives a traced process descriptors of ours: over a socket pair that it makes and whose other end we take,
 * so that no path must be visible to it, nor any file its own (a jailed VMM sees neither).
 */
export function giveDescriptors(
  injection: Injection,
  pidfd: number,
  own: readonly number[],
): GivenDescriptors {
  if (own.length === 0) return { numbers: [], toClose: [] }
  if (own.length > maxPassedDescriptors)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${own.length} descriptors are more than ${maxPassedDescriptors}`,
    )
  const { notes } = injection
  injection.call('socketpair', systemCall.socketpair, [
    AF_UNIX,
    SOCK_STREAM | SOCK_CLOEXEC,
    0,
    notes + socketsAt,
  ])
  const sockets = injection.read(notes + socketsAt, 8)
  const [here, there] = [sockets.readInt32LE(0), sockets.readInt32LE(4)]
  const end = duplicateDescriptor(pidfd, there)
  try {
    sendMessage(end, Buffer.of(0), own)
  } finally {
    closeSync(end)
  }
  const controlBytes = controlHeaderBytes + Math.ceil(own.length / 2) * 8
  const message = Buffer.alloc(controlAt)
  message.writeBigUInt64LE(BigInt(notes + vectorAt), 16)
  message.writeBigUInt64LE(1n, 24)
  message.writeBigUInt64LE(BigInt(notes + controlAt), 32)
  message.writeBigUInt64LE(BigInt(controlBytes), 40)
  message.writeBigUInt64LE(BigInt(notes + payloadAt), vectorAt)
  message.writeBigUInt64LE(1n, vectorAt + 8)
  injection.write(notes, message)
  injection.call('recvmsg', systemCall.recvmsg, [here, notes, MSG_CMSG_CLOEXEC])
  const control = injection.read(notes + controlAt, controlBytes)
  const length = Number(control.readBigUInt64LE(0))
  if (length !== controlHeaderBytes + 4 * own.length)
    throw new VarveError(
      'INJECTION_FAILED',
      `only ${(length - controlHeaderBytes) / 4} of ${own.length} descriptors arrived: the VMM may have too many open`,
    )
  const numbers = own.map((_, index) => control.readInt32LE(controlHeaderBytes + 4 * index))
  return { numbers, toClose: [here, there, ...numbers] }
}
