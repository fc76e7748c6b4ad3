import { closeSync, fstatSync, lchownSync, openSync, readlinkSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { emptyBitmap } from '../../memory/page-bitmap.js'
import { pageSizeBytes } from '../../memory/units.js'
import { peerCredentials, receiveMessage } from '../../sys/fd-passing.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import { type PageServerConfig, readPageServerConfig } from './config.js'
import { startControl } from './control.js'
import { counterNames } from './fault-loop.js'
import type { FaultAnswer, FaultOrder } from './fault-orders.js'
import { FaultThread } from './fault-thread.js'
import { GuardWatch } from './guard-watch.js'
import { parseHandshake, type ServedRegion } from './handshake.js'
import { PrefetchThread } from './prefetch-thread.js'
import { recordedToJson } from './recorded-answer.js'
import { changedPages } from './wanted-pages.js'

/** Firecracker sends its message right after it connects. */
const handshakeTimeoutMs = 10_000
/** How soon the server notices that its VM has ended. Nothing waits for that. */
const vmmPollMs = 100
/** An answer that waits for the end of fetching ahead waits no longer; the owner then asks again. */
const prefetchWaitMs = 5000

/** What is to be closed or removed at the end, in the order of its making. */
const closers: (() => void)[] = []
let faults: FaultThread | undefined
let ending = false
// Whatever goes wrong, the server must end, or a VM would wait for ever: by itself Node waits for the sleeping worker.
process.on('uncaughtException', fail)
// All that is made here, the sockets above all, is for the owner alone. A chmod afterwards could be led astray by a link
// that the jailed VMM puts in the socket's place.
process.umask(0o177)

const config = readPageServerConfig(process.argv[2] ?? '')
for (const layer of config.layers) assertWhole(layer)
const counters = new Float64Array(new SharedArrayBuffer(counterNames.length * 8))
const guards = new GuardWatch({ server: ownIdentity(), vmm: config.vmm, directory: config.directory })
const watch = setInterval(() => (isAlive(config.vmm) ? guards.check() : end(0)), vmmPollMs)
closers.push(() => clearInterval(watch))
const { layers, map, randomAccess } = config
// A fault that cannot be answered rightly is answered by nobody: the guard then kills the VM.
const thread = new FaultThread({ layers, map, randomAccess, counters }, fail)
faults = thread
const prefetch =
  config.prefetch === null
    ? undefined
    : new PrefetchThread({ workingSetPath: config.prefetch, layers, map, faultCounters: counters })
closers.push(() => void prefetch?.stop())
let regions: readonly ServedRegion[] = []
const control = await startControl(config.controlPath, {
  counters,
  guards,
  record: async (writes) => {
    // Pages that are fetched ahead would not be seen, and would be installed without protection.
    if (prefetch?.going === true)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        'pages are being fetched ahead; record after that, or without',
      )
    const { fromTheFirst } = await ordered({ kind: 'record', writes })
    return { fromTheFirst }
  },
  recorded,
  prefetched,
  stop: () => end(0),
})
closers.push(() => control.close())
await thread.ready()
if (!ending) listen(config)

async function ordered(order: FaultOrder): Promise<FaultAnswer> {
  const answer = await thread.order(order)
  if (answer.error !== undefined) throw new VarveError('RECORDER_UNRELIABLE', answer.error)
  return answer
}

async function prefetched(wait: boolean): Promise<object> {
  if (prefetch === undefined) throw new VarveError('INVALID_ARGUMENT', 'nothing is to be fetched ahead')
  if (wait) await Promise.race([prefetch.ended, sleep(prefetchWaitMs, undefined, { ref: false })])
  return prefetch.report()
}

async function recorded(next: AfterRecorded): Promise<object> {
  const { recorded: found } = await ordered({ kind: 'recorded', next })
  if (found === undefined) throw new VarveError('PAGE_SERVER_PROTOCOL', 'the fault thread gave no recording')
  const memory = { pid: config.vmm.pid, regions, map, layers }
  const wanted = found.wanted ?? emptyBitmap(0, 0)
  return recordedToJson(found, await changedPages(memory, wanted))
}

function listen({ socketPath, socketOwner }: PageServerConfig): void {
  // pauseOnConnect: Node must not read, because a plain read drops the descriptor that comes with the bytes.
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    // One connection, ever. A second one can have been accepted together with the first.
    if (!server.listening) return socket.destroy()
    server.close()
    handshake(socket)
      .then((order) => {
        regions = order.regions
        const answer = ordered(order)
        // Not before the fault thread has it: whatever meets this one first, demand can be answered.
        answer.then(() => prefetch?.start(order)).catch(() => {})
        return answer
      })
      .catch(fail)
    return undefined
  })
  server.once('error', fail)
  closers.push(() => {
    server.close()
    rmSync(socketPath, { force: true })
  })
  server.listen(socketPath, () => {
    // Of a link only the link itself.
    if (socketOwner) lchownSync(socketPath, socketOwner.uid, socketOwner.gid)
    process.stdout.write('ready\n')
  })
}

async function handshake(socket: Socket): Promise<Extract<FaultOrder, { kind: 'serve' }>> {
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
    if (performance.now() > deadline)
      throw new VarveError('TIMEOUT', `no complete handshake within ${handshakeTimeoutMs} ms`)
    const message = receiveMessage(fd, 64 * 1024)
    if (message === undefined) {
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
    // Bounded: more than is allowed throws.
    const served = parseHandshake(bytes, config.map.pages)
    if (served === undefined) continue
    const userfaultfd = descriptors[0]
    if (userfaultfd === undefined)
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'handshake without a descriptor')
    const kind = readlinkSync(`/proc/self/fd/${userfaultfd}`)
    if (kind !== 'anon_inode:[userfaultfd]')
      throw new VarveError('PAGE_SERVER_PROTOCOL', `handshake with a ${kind}`)
    return { kind: 'serve', userfaultfd, regions: served }
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

function ownIdentity(): ProcessIdentity {
  const identity = processIdentity(process.pid)
  if (!identity) throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted')
  return identity
}

function fail(error: unknown): void {
  if (ending) return
  process.stderr.write(
    `page server: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  )
  end(1)
}

/** The first caller decides the status. */
function end(status: number): void {
  if (ending) return
  ending = true
  process.exitCode = status
  // process.exit would hang while the worker sleeps in poll.
  const stopped = faults?.stop() ?? Promise.resolve()
  stopped.finally(() => process.exit())
  for (const close of closers) close()
}
