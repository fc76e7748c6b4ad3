import { appendFileSync, closeSync, lchownSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { releaseMachine } from '../../machine/held-machine.js'
import { endMemoryLease } from '../../machine/machine-leases.js'
import { emptyBitmap } from '../../memory/page-bitmap.js'
import { openPidfd } from '../../sys/pidfd.js'
import { Poller } from '../../sys/poll.js'
import { isEnding, userfaultfdsOf } from '../../sys/proc.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import { counterNames } from '../faults/fault-loop.js'
import type { FaultAnswer, FaultOrder } from '../faults/fault-orders.js'
import type { FaultThread } from '../faults/fault-thread.js'
import { Prefetch } from '../prefetch/prefetch.js'
import type { PrefetchPool } from '../prefetch/prefetch-pool.js'
import type { PageServerConfig } from '../protocol/config.js'
import { type ServingProcesses, startControl } from '../protocol/control.js'
import { killServedVm } from '../protocol/death.js'
import { FaultRecord } from '../protocol/fault-record.js'
import type { LineServer } from '../protocol/line-server.js'
import { pageServerFiles } from '../protocol/page-server-files.js'
import { recordedToJson } from '../protocol/recorded-answer.js'
import { type ServedGraduation, writeGraduated } from '../protocol/served-graduation.js'
import { readRemovedPages, writeVmState } from '../protocol/vm-state.js'
import type { LayerMappings, MappedLayers } from './layer-mappings.js'
import { type Handshake, receiveHandshake } from './receive-handshake.js'
import { sharedMap } from './shared-map.js'
import { changedPages } from './wanted-pages.js'

/** An answer that waits for the end of something waits no longer; the owner then asks again. */
const waitMs = 5000

/** From the order to serve a VM to its load: a restore sends both within some 10 ms, on a busy host later. */
const loadBeginsMs = 1000

/** What the VMs of one server have in common. */
export interface ServerParts {
  readonly faults: FaultThread
  readonly mappings: LayerMappings
  readonly prefetches: PrefetchPool
  processes(): ServingProcesses
}

/** What is left of a VM whose server has died. */
export interface TakenOver {
  /** Null: it had not handed over its memory yet. */
  readonly handshake: Handshake | null
  /** As `VmState` says. */
  readonly recording: boolean | null
}

type OrderForVm<Order> = Order extends { readonly vm: number } ? Omit<Order, 'vm'> : never

/** One VM that is being served, on the server's main thread. Its faults are answered by the fault thread. */
export class ServedVm {
  /** For the fault thread. */
  readonly number: number
  readonly config: PageServerConfig
  /** Ends when all of it has ended: nothing is open, and no thread knows of the VM, any more. */
  readonly ended: Promise<void>
  /** Of the VMM: polls readable when that ends. */
  readonly pidfd: number
  readonly #parts: ServerParts
  readonly #layers: MappedLayers
  readonly #counters = new Float64Array(new SharedArrayBuffer(counterNames.length * 8))
  readonly #prefetch: Prefetch | undefined
  #control: LineServer | undefined
  #listener: Server | undefined
  #connection: Socket | undefined
  #handshake: Handshake | undefined
  /** Asked for before there was memory to record: `writes` of it. */
  #early: boolean | null = null
  #recording = false
  /** A recording was on when the server before this one died. */
  #lost = false
  #graduation: ServedGraduation = { state: 'waiting', failure: null, copiedPages: 0, ms: null }
  #graduationBegan = 0
  #graduationEnds: () => void = () => {}
  readonly #graduationEnd = new Promise<void>((resolve) => {
    this.#graduationEnds = resolve
  })
  readonly #madeAt = performance.now()
  #opened = Promise.resolve()
  #ending = false
  #endsWith: () => void = () => {}

  /** Errors: MACHINE_EXITED; IMAGE_MISMATCH, ENOENT (layers). */
  constructor(number: number, config: PageServerConfig, parts: ServerParts) {
    this.number = number
    this.config = { ...config, map: sharedMap(config.map) }
    this.#parts = parts
    this.ended = new Promise((resolve) => {
      this.#endsWith = resolve
    })
    const { layers, map, randomAccess, prefetch, vmm } = this.config
    const pidfd = openPidfd(vmm)
    if (pidfd === undefined) throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} has ended`)
    this.pidfd = pidfd
    try {
      this.#layers = parts.mappings.map(layers, randomAccess)
    } catch (error) {
      closeSync(pidfd)
      throw error
    }
    const { sources: mapped } = this.#layers
    if (prefetch !== null)
      this.#prefetch = new Prefetch(parts.prefetches, {
        ...{ workingSetPath: prefetch, layers, mapped, map },
        faultCounters: this.#counters,
      })
  }

  /** When this resolves, Firecracker may connect. On an error, `end` it. */
  open(): Promise<void> {
    this.#opened = this.#open()
    return this.#opened
  }

  /** Resolves as `open` did; at once if the VM was taken over. */
  get opened(): Promise<void> {
    return this.#opened
  }

  async #open(): Promise<void> {
    await this.#place()
    await this.#openControl()
    await this.#listen()
  }

  /**
   * Continues after another server ended. When this resolves, faults are answered
   * again. On an error, `fail` it.
   */
  async takeOver({ handshake, recording }: TakenOver): Promise<void> {
    this.#lost = recording !== null
    if (handshake === null) rmSync(this.config.socketPath, { force: true })
    else {
      await this.#serve(handshake, true)
      // A CPU that is gone by now only costs time.
      await this.#place().catch(() => {})
    }
    await (handshake === null ? this.open() : this.#openControl())
  }

  async #place(): Promise<void> {
    const { faultCpu } = this.config
    if (faultCpu !== null) await this.#parts.faults.place(this.number, faultCpu)
  }

  async #openControl(): Promise<void> {
    this.#control = await startControl(this.config.controlPath, {
      stats: () => this.#stats(),
      processes: () => this.#parts.processes(),
      record: (writes) => this.#record(writes),
      recorded: (next) => this.#recorded(next),
      prefetched: (wait) => this.#prefetched(wait),
      graduation: (wait) => this.#graduationReport(wait),
      stop: () => this.fail('its owner had the page server stop'),
    })
  }

  #listen(): Promise<void> {
    const { socketPath, socketOwner } = this.config
    // pauseOnConnect: Node must not read, because a plain read drops the
    // descriptor that comes with the bytes.
    const listener = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on('error', () => {})
      // One connection, ever. A second one can have been accepted together with the first.
      if (this.#connection !== undefined || this.#ending) return socket.destroy()
      listener.close()
      this.#connection = socket
      this.#attach(socket).catch((error: unknown) => this.fail(error))
      return undefined
    })
    this.#listener = listener
    return new Promise((resolve, reject) => {
      listener.once('error', reject)
      listener.listen(socketPath, () => {
        try {
          // Of a link only the link itself.
          if (socketOwner) lchownSync(socketPath, socketOwner.uid, socketOwner.gid)
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  async #attach(socket: Socket): Promise<void> {
    const { vmm, map } = this.config
    const handshake = await receiveHandshake(socket, vmm, map.pages)
    if (this.#ending) return closeSync(handshake.userfaultfd)
    await this.#serve(handshake, false)
  }

  async #serve(handshake: Handshake, takeOver: boolean): Promise<void> {
    const { map, randomAccess, directory } = this.config
    const { state, removed } = pageServerFiles(directory)
    this.#handshake = handshake
    const record = this.#early
    this.#early = null
    this.#keepState(record)
    const known = readRemovedPages(removed, map.pages)
    const answer = await this.#order({
      kind: 'serve',
      ...handshake,
      pidfd: this.pidfd,
      map,
      layers: this.#layers.sources,
      counters: this.#counters,
      around: !randomAccess,
      removed: { path: removed, known, statePath: state },
      record,
      gate: this.#prefetch?.gate ?? null,
      takeOver,
    })
    if (answer.error !== undefined) throw new VarveError('PAGE_SERVER_PROTOCOL', answer.error)
    // Not before the fault thread has it: whatever meets this one first, demand can be answered. What was
    // removed must not be fetched.
    if (!this.#ending && known === undefined) this.#prefetch?.start(handshake)
    else void this.#prefetch?.stop()
    if (this.config.graduate) void this.#graduate()
  }

  async #graduate(): Promise<void> {
    await this.#prefetch?.ended
    if (this.#ending) return
    this.#graduationBegan = performance.now()
    this.#graduation = { ...this.#graduation, state: 'running' }
    await this.#order({ kind: 'graduate' })
  }

  /** The fault thread has left the VM, which is on its own now. */
  graduated(copiedPages: number): void {
    this.#endGraduation({ state: 'finished', failure: null, copiedPages })
    // From here on no successor looks for it.
    writeGraduated(pageServerFiles(this.config.directory).graduated, {
      graduation: this.#graduation,
      stats: this.#stats(),
      prefetched: this.#prefetch?.report() ?? null,
    })
    try {
      endMemoryLease(this.config.directory)
    } catch {
      // Then the lease ends with the VM.
    }
    void this.end()
  }

  /** It stays one that asks for its pages. */
  stranded(failure: string): void {
    this.#endGraduation({ state: 'failed', failure, copiedPages: 0 })
  }

  #stats(): object {
    return Object.fromEntries(counterNames.map((name, index) => [name, this.#counters[index]]))
  }

  #endGraduation(end: Omit<ServedGraduation, 'ms'>): void {
    this.#graduation = { ...end, ms: performance.now() - this.#graduationBegan }
    this.#graduationEnds()
  }

  async #graduationReport(wait: boolean): Promise<object> {
    if (!this.config.graduate)
      throw new VarveError('INVALID_ARGUMENT', 'this VM was restored without graduate')
    if (wait) await Promise.race([this.#graduationEnd, sleep(waitMs, undefined, { ref: false })])
    return this.#graduation
  }

  #keepState(recording: boolean | null): void {
    const { regions } = this.#handshake as Handshake
    writeVmState(pageServerFiles(this.config.directory).state, { regions, recording })
  }

  #order(order: OrderForVm<FaultOrder>): Promise<FaultAnswer> {
    return this.#parts.faults.order({ ...order, vm: this.number } as FaultOrder)
  }

  async #record(writes: boolean): Promise<object> {
    if (this.config.graduate)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        'this VM graduates: the page server brings its pages before the guest asks for them',
      )
    // Pages that are fetched ahead would not be seen, and would be installed without protection.
    if (this.#prefetch?.going === true)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        'a working set is being fetched ahead; record after that, or restore without a working set',
      )
    if (this.#handshake === undefined) {
      if (this.#early !== null)
        throw new VarveError('RECORDER_UNRELIABLE', 'a recording of this VM is running; end it first')
      this.#early = writes
      this.#recording = true
      return { fromTheFirst: true }
    }
    // Pages that it protects must not stay so should this server end.
    this.#keepState(writes)
    const { error } = await this.#order({ kind: 'record', writes })
    if (error !== undefined) throw new VarveError('RECORDER_UNRELIABLE', error)
    this.#recording = true
    this.#lost = false
    return { fromTheFirst: false }
  }

  async #recorded(next: AfterRecorded): Promise<object> {
    const { layers, map, vmm } = this.config
    const { recorded: found, error } =
      this.#handshake === undefined ? this.#nothingYet(next) : await this.#order({ kind: 'recorded', next })
    if (found === undefined) {
      const lost = 'the recording was lost: the page server died, and another one took over'
      throw new VarveError('RECORDER_UNRELIABLE', this.#lost ? lost : (error ?? 'nothing is recorded'))
    }
    if (next === 'stop') {
      this.#recording = false
      if (this.#handshake !== undefined) this.#keepState(null)
    }
    const memory = { pid: vmm.pid, regions: this.#handshake?.regions ?? [], map, layers }
    const wanted = found.wanted ?? emptyBitmap(0, 0)
    return recordedToJson(found, await changedPages(memory, wanted))
  }

  #nothingYet(next: AfterRecorded): FaultAnswer {
    if (this.#early === null) return {}
    const recorded = new FaultRecord(this.config.map.pages, this.#early).copy()
    if (next === 'stop') this.#early = null
    return { recorded }
  }

  async #prefetched(wait: boolean): Promise<object> {
    const prefetch = this.#prefetch
    if (prefetch === undefined)
      throw new VarveError('INVALID_ARGUMENT', 'no working set was given to this VM to fetch ahead')
    if (wait) await Promise.race([prefetch.ended, sleep(waitMs, undefined, { ref: false })])
    return prefetch.report()
  }

  /**
   * Its faults cannot be answered rightly: the VM is killed, and the reason is left. Others are served on.
   */
  fail(error: unknown): void {
    if (this.#ending) return
    // One that has ended by itself needs no reason; its end is what cannot be served.
    if (this.vmmLives) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      const { directory } = this.config
      try {
        appendFileSync(pageServerFiles(directory).serverLog, `page server: ${text}\n`, { mode: 0o600 })
      } finally {
        const reason = text.split('\n', 1)[0]?.slice(0, 1000)
        killServedVm(directory, this.pidfd, `the page server gave the VM up; it was killed: ${reason}`)
      }
    }
    void this.end()
  }

  /**
   * Whether Firecracker loads, or is about to: no other process could serve the VM before its handshake is
   * noted.
   */
  isBeingTakenOn(): boolean {
    if (this.#handshake !== undefined || this.#ending) return false
    return (
      this.#connection !== undefined ||
      performance.now() - this.#madeAt < loadBeginsMs ||
      userfaultfdsOf(this.config.vmm.pid).length > 0
    )
  }

  get recording(): boolean {
    return this.#recording
  }

  get vmmLives(): boolean {
    // One that was killed lets go of its memory and its connections before its pidfd says so.
    return new Poller([this.pidfd]).wait(0) === 0 && !isEnding(this.config.vmm)
  }

  /** Leaves the VM alone: sockets at once, the rest as soon as no thread uses it. */
  end(): Promise<void> {
    if (!this.#ending) {
      this.#ending = true
      this.#control?.close()
      this.#listener?.close()
      rmSync(this.config.socketPath, { force: true })
      void this.#letGo().then(this.#endsWith)
    }
    return this.ended
  }

  async #letGo(): Promise<void> {
    await Promise.all([
      this.#prefetch?.stop(),
      this.#handshake === undefined ? undefined : this.#order({ kind: 'drop' }),
      this.#parts.faults.place(this.number, null),
    ])
    this.#connection?.destroy()
    if (this.#handshake !== undefined) closeSync(this.#handshake.userfaultfd)
    closeSync(this.pidfd)
    this.#layers.release()
    releaseMachine(this.config.directory)
  }
}
