import { chmodSync, chownSync, closeSync, fstatSync, openSync, readlinkSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import { pageSizeBytes } from '../../memory/units.js'
import { createEvent, raiseEvent } from '../../sys/eventfd.js'
import { peerCredentials, receiveMessage } from '../../sys/fd-passing.js'
import { isAlive } from '../../sys/proc.js'
import { type PageServerConfig, readPageServerConfig } from './config.js'
import { startControl } from './control.js'
import { counterNames } from './fault-loop.js'
import type { FaultWorkerData, ServeOrder } from './fault-worker.js'
import { maxHandshakeBytes, parseHandshake } from './handshake.js'

/** Firecracker sends its message right after it connects. */
const handshakeTimeoutMs = 10_000
/** How soon the server notices that its VM has ended. Nothing waits for that. */
const vmmPollMs = 100
/** Page numbers kept in fault order: 4 GiB of single pages, 4 MiB of memory. */
const maxTrace = 1024 * 1024

const config = readPageServerConfig(process.argv[2] ?? '')
const stopEvent = createEvent()
const counters = new Float64Array(new SharedArrayBuffer(counterNames.length * 8))
const trace = new Uint32Array(new SharedArrayBuffer(maxTrace * 4))

for (const layer of config.layers) assertWhole(layer)
const worker = new Worker(new URL('./fault-worker.js', import.meta.url), {
  workerData: {
    layers: config.layers,
    map: config.map,
    randomAccess: config.randomAccess,
    stopEvent,
    counters,
    trace,
  } satisfies FaultWorkerData,
})
// A fault that cannot be answered rightly is answered by nobody: the guard then kills the VM.
worker.once('error', fail)
worker.once('message', () => listen(config))

const control = await startControl(config.controlPath, { counters, trace, stop: () => end(0) })
const watch = setInterval(() => isAlive(config.vmm) || end(0), vmmPollMs)
let server: Server | undefined

function listen({ socketPath, socketOwner }: PageServerConfig): void {
  // pauseOnConnect: Node must not read, because a plain read drops the descriptor that comes with the bytes.
  server = createServer({ pauseOnConnect: true }, (socket) => {
    server?.close()
    handshake(socket).then((order) => worker.postMessage(order), fail)
  })
  server.once('error', fail)
  server.listen(socketPath, () => {
    chmodSync(socketPath, 0o600)
    if (socketOwner) chownSync(socketPath, socketOwner.uid, socketOwner.gid)
    process.stdout.write('ready\n')
  })
}

async function handshake(socket: Socket): Promise<ServeOrder> {
  const fd = descriptorOf(socket)
  const peer = peerCredentials(fd)
  if (peer.pid !== config.vmm.pid || !isAlive(config.vmm))
    throw new VarveError(
      'PAGE_SERVER_PROTOCOL',
      `process ${peer.pid} connected, not the VMM ${config.vmm.pid}`,
    )
  const chunks: Buffer[] = []
  const descriptors: number[] = []
  const deadline = performance.now() + handshakeTimeoutMs
  for (;;) {
    const message = receiveMessage(fd, 64 * 1024)
    if (message === undefined) {
      if (performance.now() > deadline)
        throw new VarveError('TIMEOUT', `no complete handshake within ${handshakeTimeoutMs} ms`)
      await new Promise((resolve) => setTimeout(resolve, 1))
      continue
    }
    descriptors.push(...message.descriptors)
    if (descriptors.length > 1)
      throw new VarveError('PAGE_SERVER_PROTOCOL', `handshake with ${descriptors.length} descriptors`)
    if (message.bytes.length === 0)
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'end of file within the handshake')
    chunks.push(message.bytes)
    const bytes = Buffer.concat(chunks)
    const regions = parseHandshake(bytes, config.map.pages)
    if (regions === undefined && bytes.length < maxHandshakeBytes) continue
    const userfaultfd = descriptors[0]
    if (regions === undefined || userfaultfd === undefined)
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'handshake without a descriptor')
    const kind = readlinkSync(`/proc/self/fd/${userfaultfd}`)
    if (kind !== 'anon_inode:[userfaultfd]')
      throw new VarveError('PAGE_SERVER_PROTOCOL', `handshake with a ${kind}`)
    return { userfaultfd, regions }
  }
}

/** Node has no public way to a socket's descriptor; `_handle.fd` has been there since 0.x and is checked here. */
function descriptorOf(socket: Socket): number {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
  if (fd === undefined || fd < 0)
    throw new VarveError('HOST_UNSUPPORTED', 'this Node hides the descriptor of a socket')
  return fd
}

function assertWhole({ path, pages }: { readonly path: string; readonly pages: number }): void {
  const fd = openSync(path, 'r')
  try {
    const { size } = fstatSync(fd)
    if (size < pages * pageSizeBytes)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `layer ${path} has ${size} bytes, ${pages * pageSizeBytes} are needed`,
      )
  } finally {
    closeSync(fd)
  }
}

function fail(error: unknown): void {
  process.stderr.write(
    `page server: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  )
  end(1)
}

function end(status: number): void {
  clearInterval(watch)
  server?.close()
  control.close()
  rmSync(config.socketPath, { force: true })
  process.exitCode = status
  // process.exit would hang while the worker sleeps in poll: it must be woken, and then exits by itself.
  worker.once('exit', () => process.exit())
  raiseEvent(stopEvent)
  void worker.terminate()
}
