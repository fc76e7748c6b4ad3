import { closeSync, readlinkSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { peerCredentials, receiveMessage } from '../../sys/fd-passing.js'
import { isAlive, type ProcessIdentity } from '../../sys/proc.js'
import { parseHandshake, type ServedMemory } from '../protocol/handshake.js'

/** Firecracker sends its message right after it connects. */
const handshakeTimeoutMs = 10_000

export interface Handshake extends ServedMemory {
  readonly userfaultfd: number
}

/**
 * Reads the handshake of `vmm` from a connection that Node has not read from: a plain read drops
 * the descriptor that comes with the bytes. Anything else than a right handshake is an error, and
 * then no descriptor stays open.
 */
export async function receiveHandshake(
  socket: Socket,
  vmm: ProcessIdentity,
  imagePages: number,
): Promise<Handshake> {
  const fd = descriptorOf(socket)
  const peer = peerCredentials(fd)
  if (peer.pid !== vmm.pid || !isAlive(vmm))
    throw new VarveError('PAGE_SERVER_PROTOCOL', `process ${peer.pid} connected, not the VMM ${vmm.pid}`)
  const descriptors: number[] = []
  try {
    const memory = await readMemory(socket, fd, descriptors, imagePages)
    const [userfaultfd] = descriptors
    if (userfaultfd === undefined)
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'handshake without a descriptor')
    const kind = readlinkSync(`/proc/self/fd/${userfaultfd}`)
    if (kind !== 'anon_inode:[userfaultfd]')
      throw new VarveError('PAGE_SERVER_PROTOCOL', `handshake with a ${kind}`)
    return { userfaultfd, ...memory }
  } catch (error) {
    for (const received of descriptors) closeSync(received)
    throw error
  }
}

async function readMemory(
  socket: Socket,
  fd: number,
  descriptors: number[],
  imagePages: number,
): Promise<ServedMemory> {
  const chunks: Buffer[] = []
  const deadline = performance.now() + handshakeTimeoutMs
  for (;;) {
    if (socket.destroyed) throw new VarveError('PAGE_SERVER_PROTOCOL', 'the VM ended within the handshake')
    if (performance.now() > deadline)
      throw new VarveError('TIMEOUT', `no complete handshake within ${handshakeTimeoutMs} ms`)
    const message = receiveMessage(fd, 64 * 1024)
    if (message === undefined) {
      await sleep(1)
      continue
    }
    descriptors.push(...message.descriptors)
    if (descriptors.length > 1)
      throw new VarveError('PAGE_SERVER_PROTOCOL', `handshake with ${descriptors.length} descriptors`)
    if (message.bytes.length === 0)
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'end of file within the handshake')
    chunks.push(message.bytes)
    // Bounded: more than is allowed throws.
    const memory = parseHandshake(Buffer.concat(chunks), imagePages)
    if (memory !== undefined) return memory
    // Other VMs must be served too while one peer sends megabytes.
    await sleep(0)
  }
}

/**
 * Node has no public way to a socket's descriptor; `_handle.fd` has been there since 0.x and is checked here.
 */
function descriptorOf(socket: Socket): number {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
  if (fd === undefined || fd < 0)
    throw new VarveError('HOST_UNSUPPORTED', 'this Node hides the descriptor of a socket')
  return fd
}
