import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { VarveError } from '../../errors.js'
import { pageSizeBytes } from '../../memory/units.js'
import { threadCpus, threadId } from '../../sys/affinity.js'
import { clearEvent, createEvent } from '../../sys/eventfd.js'
import { mapAnonymous } from '../../sys/memory-map.js'
import { Pagemap } from '../../sys/pagemap.js'
import { Poller } from '../../sys/poll.js'
import { runnableThreads } from '../../sys/runnable.js'
import { UserfaultOps } from '../../sys/userfaultfd.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { removalLog } from '../protocol/vm-state.js'
import { FaultLoop } from './fault-loop.js'
import type { FaultAnswer, FaultedVmParts, FaultMessage, FaultOrder } from './fault-orders.js'
import { FetchGate } from './fetch-gate.js'
import { Frames } from './frames.js'
import { FrozenOps } from './frozen-ops.js'
import { Graduation } from './graduation.js'
import { Spin } from './spin.js'

export interface FaultWorkerData {
  /** How many CPUs the thread may use: one word of shared memory. */
  readonly cpus: Int32Array
}

/** How soon deferred faults are tried again while no new event comes. */
const retryMs = 1

/**
 * Reads a turn. Up to 64 faults each; without a bound vCPUs that keep faulting would keep orders, what was
 * put off, and other VMs waiting: up to 5 ms if one VM is alone, a quarter of that for each if several are.
 */
const readsAlone = 16
const readsAmongMany = 4

/** Turns between two pieces of graduating VMs, if some VM always asks for pages. */
const turnsAPiece = 64

interface FaultedVm {
  readonly vm: number
  readonly userfaultfd: number
  readonly pidfd: number
  readonly loop: FaultLoop
  readonly graduation: Graduation
  close(): void
  /** Faults wait to be tried again. */
  again: boolean
  /** Failed, or ended: to be left. */
  over: boolean
}

const { cpus } = workerData as FaultWorkerData
Atomics.store(cpus, 0, threadCpus(0).length)
/** Polls readable when orders were posted. */
const orderEvent = createEvent()
const port = parentPort
if (port === null) throw new Error('fault-worker.js is a worker thread')
const say = (message: FaultMessage) => port.postMessage(message)

const zeros = mapAnonymous(pageSizeBytes)
let vms: FaultedVm[] = []
/** The order event, then the VMs' memories in their order, then their processes. */
let poller = new Poller([orderEvent])
let stopped = false
let graduating = 0
/** How long to wait for demand before the next piece. */
let pace = 0
let next = 0
/** Faults of some VM wait to be tried again. */
let again = false
let turns = 0
const spin = new Spin(cpus, runnableThreads, () => performance.now())
say({ thread: threadId(), orderEvent })
while (!stopped) {
  const ready = waitForDemand()
  // A userfaultfd may be new to the poller, and is never read before it was polled.
  if (poller.readable(0)) obeyAll()
  else turn(ready)
}

/** How many descriptors have something. */
function waitForDemand(): number {
  if (!again && graduating === 0)
    while (spin.goesOn()) {
      const ready = poller.wait(0)
      if (ready > 0) return ready
    }
  return poller.wait(again ? retryMs : graduating === 0 ? -1 : pace)
}

/**
 * Apart from what orders need: V8 compiles it as it is used, and would throw that away at the first order.
 */
function turn(ready: number): void {
  spin.asked()
  again = false
  let over = 0
  for (let index = 0; index < vms.length; index++) {
    const vm = vms[index] as FaultedVm
    if (poller.readable(1 + vms.length + index)) {
      vm.over = true
      say({ ended: vm.vm })
    } else if (vm.again || poller.readable(1 + index)) {
      serve(vm, index)
      if (vm.again) again = true
    }
    if (vm.over) over++
  }
  spin.answered()
  if (over > 0) keep((vm) => !vm.over)
  // Demand comes first.
  if (graduating > 0 && (ready === 0 || turns % turnsAPiece === 0)) pace = bringOne() ? 0 : retryMs
  turns++
}

/** A piece for the next VM that is to graduate. False if all there is has to wait. */
function bringOne(): boolean {
  for (let tries = 0; tries < vms.length; tries++) {
    const vm = vms[next++ % vms.length] as FaultedVm
    if (!vm.graduation.going) continue
    try {
      const result = vm.graduation.step()
      if (result === 'wait') continue
      if (result === 'done') {
        say({ graduated: vm.vm, copiedPages: vm.graduation.copiedPages })
        keep((it) => it !== vm)
      }
    } catch (error) {
      vm.graduation.strand()
      say({ stranded: vm.vm, reason: (error as Error).message })
      keep(() => true)
    }
    return true
  }
  return false
}

/** A VM that cannot be served is given up, alone. */
function serve(vm: FaultedVm, index: number): void {
  try {
    // The kernel says so of a userfaultfd that is blocking or was never set up. A
    // read of the former would sleep.
    if (poller.broken(1 + index))
      throw new VarveError('PAGE_SERVER_PROTOCOL', 'the userfaultfd cannot be polled')
    vm.again = vm.loop.serve(vms.length === 1 ? readsAlone : readsAmongMany)
  } catch (error) {
    vm.again = false
    vm.over = true
    say({ failed: vm.vm, reason: (error as Error).stack ?? String(error) })
  }
}

function keep(which: (vm: FaultedVm) => boolean): void {
  for (const vm of vms) if (!which(vm)) vm.close()
  vms = vms.filter(which)
  poller = new Poller([
    orderEvent,
    ...vms.map(({ userfaultfd }) => userfaultfd),
    ...vms.map(({ pidfd }) => pidfd),
  ])
  graduating = vms.filter(({ graduation }) => graduation.going).length
}

function obeyAll(): void {
  // Before the orders are read: one that comes later raises it again.
  clearEvent(orderEvent)
  for (;;) {
    const received = receiveMessageOnPort(port as NonNullable<typeof port>) as
      | { message: FaultOrder }
      | undefined
    if (received === undefined) return
    say(obey(received.message))
  }
}

function obey(order: FaultOrder): FaultAnswer {
  if (order.kind === 'stop') {
    stopped = true
    return {}
  }
  const of = vms.find(({ vm }) => vm === order.vm)
  try {
    return obeyFor(of, order)
  } catch (error) {
    return refused(of, error as Error)
  }
}

function obeyFor(of: FaultedVm | undefined, order: Exclude<FaultOrder, { kind: 'stop' }>): FaultAnswer {
  switch (order.kind) {
    case 'serve':
      vms.push(faultedVm(order.vm, order))
      keep(() => true)
      return {}
    case 'graduate':
      of?.graduation.begin()
      keep(() => true)
      return {}
    case 'drop':
      keep(({ vm }) => vm !== order.vm)
      return {}
    case 'replace':
      of?.loop.replaceImage(order.map, order.layers)
      return {}
    case 'record':
      if (of === undefined) return { error: 'the VM is not served any more' }
      if (of.loop.recording) return { error: 'a recording of this VM is running; end it first' }
      of.loop.record(order.writes)
      return {}
    case 'recorded': {
      const recorded = of?.loop.recorded()
      if (of === undefined || recorded === undefined) return { error: 'nothing is recorded' }
      if (order.next === 'stop') of.loop.stopRecording()
      else if (order.next === 'again') of.loop.record(recorded.written !== null)
      return { recorded }
    }
  }
}

/**
 * A recording that was asked for and does not record would lie. A VM whose fault went
 * unanswered meanwhile is given up.
 */
function refused(of: FaultedVm | undefined, error: Error): FaultAnswer {
  try {
    of?.loop.stopRecording()
  } catch {
    // Said below: only a fault that cannot be answered ends here.
  }
  if (of?.loop.broken) {
    keep((vm) => vm !== of)
    say({ failed: of.vm, reason: error.stack ?? error.message })
  }
  return { error: error.message }
}

function faultedVm(vm: number, parts: FaultedVmParts): FaultedVm {
  const { userfaultfd, pidfd, record, removed, takeOver, gate: shared, frozen, hugePages, ...others } = parts
  if (hugePages && frozen !== null)
    throw new VarveError('PAGE_SERVER_PROTOCOL', 'huge pages cannot come from frozen memory')
  const frozenOps = frozen === null ? undefined : new FrozenOps(userfaultfd, frozen)
  const ops = frozenOps ?? new UserfaultOps(userfaultfd)
  const layers = frozenOps === undefined ? others.layers : [...others.layers, frozenOps.source]
  const rest = { ...others, layers }
  const log = removalLog(removed.path, removed.statePath)
  const pages = new RemovedPages(rest.map.pages, log, removed.known)
  const pagemap = hugePages ? new Pagemap(parts.pid) : undefined
  const frames = pagemap && new Frames({ ...rest, removed: pages, pagemap })
  const gate = shared === null ? undefined : new FetchGate(shared)
  const loop = new FaultLoop({ ops, zeros, removed: pages, frames, gate, ...rest })
  const graduation = new Graduation({ ops, loop, removed: pages, frames, ...rest })
  if (record !== null) loop.record(record)
  if (takeOver) loop.takeOver()
  const close = () => {
    log.close()
    pagemap?.[Symbol.dispose]()
  }
  return { vm, userfaultfd, pidfd, loop, graduation, close, again: false, over: false }
}
