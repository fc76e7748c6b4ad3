import { appendFileSync, closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { releaseMachine } from '../../machine/held-machine.js'
import { endMemoryLease } from '../../machine/machine-leases.js'
import { dropName } from '../../sys/drop-name.js'
import { openPidfd } from '../../sys/pidfd.js'
import { Poller } from '../../sys/poll.js'
import { isAlive, isEnding } from '../../sys/proc.js'
import { counterNames } from '../faults/fault-counters.js'
import type { FaultAnswer, FaultOrder } from '../faults/fault-orders.js'
import type { FaultThread } from '../faults/fault-thread.js'
import { frozenHasEnded, type OpenFrozen } from '../faults/frozen-ops.js'
import { Prefetch } from '../prefetch/prefetch.js'
import type { PrefetchPool } from '../prefetch/prefetch-pool.js'
import type { Rush } from '../prefetch/rush.js'
import { type PageServerConfig, readPageServerConfig } from '../protocol/config.js'
import { type ServingProcesses, startControl } from '../protocol/control.js'
import { killServedVm } from '../protocol/death.js'
import type { LineServer } from '../protocol/line-server.js'
import { pageServerFiles } from '../protocol/page-server-files.js'
import { writeGraduated } from '../protocol/served-graduation.js'
import { readRemovedPages, writeVmState } from '../protocol/vm-state.js'
import { HandshakeArrival } from './handshake-arrival.js'
import type { LayerMappings, MappedLayers } from './layer-mappings.js'
import { assertReplaces, closeFrozen, openFrozen } from './open-frozen.js'
import type { Handshake } from './receive-handshake.js'
import { sharedMap } from './shared-map.js'
import { VmGraduation } from './vm-graduation.js'
import { type OrderForVm, VmRecording } from './vm-recording.js'
import { waitMs } from './wait-ms.js'

/** What the VMs of one server have in common. */
export interface ServerParts {
  readonly faults: FaultThread
  readonly mappings: LayerMappings
  readonly prefetchPool: PrefetchPool
  readonly rush: Rush
  processes(): ServingProcesses
}

/** What is left of a VM whose server has died. */
export interface TakenOver {
  /** Null: it had not handed over its memory yet. */
  readonly handshake: Handshake | null
  /** As `VmState` says. */
  readonly recording: boolean | null
}

/** One VM that is being served, on the server's main thread. Its faults are answered by the fault thread. */
export class ServedVm {
  /** For the fault thread. */
  readonly number: number
  /** Ends when all of it has ended: nothing is open, and no thread knows of the VM, any more. */
  readonly ended: Promise<void>
  /** Of the VMM: polls readable when that ends. */
  readonly pidfd: number
  readonly #parts: ServerParts
  #config: PageServerConfig
  #layers: MappedLayers
  #frozen: OpenFrozen | null = null
  readonly #counters = new Float64Array(new SharedArrayBuffer(counterNames.length * 8))
  readonly #prefetch: Prefetch | undefined
  #control: LineServer | undefined
  #handshake: Handshake | undefined
  readonly #recording: VmRecording
  readonly #graduation: VmGraduation
  readonly #arrival: HandshakeArrival
  #opened = Promise.resolve()
  #ending = false
  #endsWith: () => void = () => {}

  /** Errors: MACHINE_EXITED; IMAGE_MISMATCH, ENOENT (layers). */
  constructor(number: number, config: PageServerConfig, parts: ServerParts) {
    this.number = number
    this.#config = { ...config, map: sharedMap(config.map) }
    this.#parts = parts
    this.ended = new Promise((resolve) => {
      this.#endsWith = resolve
    })
    const { layers, map, frozen, randomAccess, workingSetPath, vmm } = this.config
    this.#graduation = new VmGraduation(this.config.graduate)
    this.#arrival = new HandshakeArrival(this.config, {
      serve: (handshake) => this.#serve(handshake, false),
      fail: (error) => this.fail(error),
    })
    this.#recording = new VmRecording({
      config: () => this.config,
      handshake: () => this.#handshake,
      isPrefetching: () => this.#prefetch?.going === true,
      keepState: (recording) => this.#keepState(recording),
      order: (order) => this.#order(order),
    })
    const pidfd = openPidfd(vmm)
    if (pidfd === undefined) throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} has ended`)
    this.pidfd = pidfd
    try {
      this.#frozen = frozen && openFrozen(frozen)
      this.#layers = parts.mappings.map(layers, randomAccess)
    } catch (error) {
      closeSync(pidfd)
      this.#closeFrozen()
      throw error
    }
    const { sources: mapped } = this.#layers
    parts.rush.join(number)
    if (workingSetPath !== null)
      this.#prefetch = new Prefetch(parts.prefetchPool, {
        ...{ workingSetPath, pid: vmm.pid, layers, mapped, map },
        faultCounters: this.#counters,
        rush: parts.rush.shared,
      })
  }

  get config(): PageServerConfig {
    return this.#config
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
    await this.#arrival.listen()
  }

  /**
   * Continues after another server ended. When this resolves, faults are answered
   * again. On an error, `fail` it.
   */
  async takeOver({ handshake, recording }: TakenOver): Promise<void> {
    if (recording !== null) this.#recording.lose()
    if (handshake === null) dropName(this.config.socketPath)
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
      record: (writes) => this.#recording.begin(writes),
      recorded: (next) => this.#recording.recorded(next),
      prefetched: (wait) => this.#prefetched(wait),
      graduation: (wait) => this.#graduation.answer(wait),
      reread: () => this.#reread(),
      stop: () => this.fail('its owner had the page server stop'),
    })
  }

  async #serve(handshake: Handshake, takeOver: boolean): Promise<void> {
    const { map, randomAccess, directory, vmm } = this.config
    const { state, removed } = pageServerFiles(directory)
    this.#handshake = handshake
    this.#parts.rush.join(this.number)
    const record = this.#recording.takeEarly()
    this.#keepState(record)
    const known = readRemovedPages(removed, map.pages)
    const answer = await this.#order({
      kind: 'serve',
      ...handshake,
      pidfd: this.pidfd,
      pid: vmm.pid,
      map,
      layers: this.#layers.sources,
      frozen: this.#frozen,
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

  /**
   * Takes the image from the layers that the configuration names by now, in place of frozen memory. May be
   * repeated. On an error the VM is served as before.
   */
  async #reread(): Promise<object> {
    const before = this.#config
    const next = readPageServerConfig(pageServerFiles(before.directory).config)
    if (before.frozen === null) return {}
    assertReplaces(next, before)
    const { map, layers: wanted, randomAccess } = next
    const layers = this.#parts.mappings.map(wanted, randomAccess)
    const config = { ...before, layers: wanted, map: sharedMap(map), frozen: null }
    const replaced = this.#layers
    // At once: a handshake that arrives meanwhile is served from the new layers.
    this.#config = config
    this.#layers = layers
    if (this.#handshake !== undefined)
      await this.#order({ kind: 'replace', map: config.map, layers: layers.sources })
    replaced.release()
    this.#closeFrozen()
    return {}
  }

  #closeFrozen(): void {
    if (this.#frozen !== null) closeFrozen(this.#frozen)
    this.#frozen = null
  }

  /** A VM whose frozen memory has gone lacks pages for good: it ends now, not when it asks for them. */
  look(): void {
    const { frozen } = this.#config
    if (frozen !== null && (!isAlive(frozen.process) || isEnding(frozen.process)))
      this.fail(frozenHasEnded(frozen.process.pid))
  }

  async #graduate(): Promise<void> {
    await this.#prefetch?.ended
    if (this.#ending) return
    this.#graduation.begin()
    await this.#order({ kind: 'graduate' })
  }

  /** The fault thread has left the VM, which is on its own now. */
  graduated(copiedPages: number): void {
    this.#graduation.end({ state: 'finished', failure: null, copiedPages })
    // From here on no successor looks for it.
    writeGraduated(pageServerFiles(this.config.directory).graduated, {
      graduation: this.#graduation.report,
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
    this.#graduation.end({ state: 'failed', failure, copiedPages: 0 })
  }

  #stats(): object {
    return Object.fromEntries(counterNames.map((name, index) => [name, this.#counters[index]]))
  }

  #keepState(recording: boolean | null): void {
    const { regions, hugePages } = this.#handshake as Handshake
    writeVmState(pageServerFiles(this.config.directory).state, { regions, hugePages, recording })
  }

  #order(order: OrderForVm): Promise<FaultAnswer> {
    return this.#parts.faults.order({ ...order, vm: this.number } as FaultOrder)
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
    return this.#handshake === undefined && !this.#ending && this.#arrival.isExpected()
  }

  get recording(): boolean {
    return this.#recording.running
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
      this.#arrival.stop()
      dropName(this.config.socketPath)
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
    this.#arrival.disconnect()
    if (this.#handshake !== undefined) closeSync(this.#handshake.userfaultfd)
    closeSync(this.pidfd)
    this.#layers.release()
    this.#closeFrozen()
    releaseMachine(this.config.directory)
  }
}
