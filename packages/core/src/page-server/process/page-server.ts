import { closeSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import { holdMachine, releaseMachine } from '../../machine/held-machine.js'
import { Poller } from '../../sys/poll.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { FaultThread } from '../faults/fault-thread.js'
import { PrefetchPool } from '../prefetch/prefetch-pool.js'
import { Rush } from '../prefetch/rush.js'
import { type PageServerConfig, readPageServerConfig } from '../protocol/config.js'
import { killUnserved } from '../protocol/death.js'
import { type LineRequest, type LineServer, startLineServer } from '../protocol/line-server.js'
import { pageServerRoot } from '../protocol/page-server-files.js'
import { addServedVm, removeServedVm } from '../protocol/served-vms.js'
import type { FoundVm } from '../vm/find-served-vms.js'
import { LayerMappings } from '../vm/layer-mappings.js'
import { ServedVm, type ServerParts } from '../vm/served-vm.js'
import { GuardWatch } from './guard-watch.js'
import { nameSuccessor } from './successor.js'

/** How soon the server notices that its guard has ended, or a VM that has not handed over its memory. */
const lookMs = 100

/** The process that starts a server names its guard within milliseconds, unless it is killed in between. */
const nameGuardMs = 5000

/**
 * How long a server that is to leave waits for VMs that are loading, and how often it looks. A load takes
 * some 10 ms.
 */
const takeOnMs = 5000
const takeOnLookMs = 5

interface PageServerOptions {
  /** The runtime directory whose VMs it serves. */
  readonly runtime: string
  /** It ends when it has had no VM for so long. */
  readonly lingerMs: number
  /** Ends the process: nothing is served any more. */
  onEnd(): void
  /** Something failed that no single VM can be blamed for. */
  onFailure(error: unknown): void
}

/** The process that serves all VMs of a runtime directory: takes orders, notices ends. */
export class PageServerProcess {
  readonly #options: PageServerOptions
  readonly #root: ReturnType<typeof pageServerRoot>
  readonly #guards: GuardWatch
  readonly #self: ProcessIdentity
  readonly #parts: ServerParts
  readonly #vms = new Map<number, ServedVm>()
  #poller = new Poller([])
  #numbers = 0
  /** Orders that are being carried out. */
  #orders = 0
  /** While it waits to leave, and after: resolves once this server stays after all. */
  #leaving: Promise<void> | undefined
  #left = false
  #orderSocket: LineServer | undefined
  #idleSince = performance.now()

  constructor(options: PageServerOptions) {
    this.#options = options
    this.#root = pageServerRoot(options.runtime)
    const self = processIdentity(process.pid)
    if (self === undefined) throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted')
    this.#self = self
    const { runtime, lingerMs } = options
    this.#guards = new GuardWatch({ server: self, runtime, lingerMs })
    this.#parts = {
      faults: new FaultThread({
        onVmFailure: (vm, reason) => this.#vms.get(vm)?.fail(reason),
        onVmEnd: (vm) => void this.#vms.get(vm)?.end(),
        onGraduated: (vm, copiedPages) => this.#vms.get(vm)?.graduated(copiedPages),
        onStranded: (vm, reason) => this.#vms.get(vm)?.stranded(reason),
        onFailure: options.onFailure,
      }),
      mappings: new LayerMappings(),
      prefetchPool: new PrefetchPool(),
      rush: new Rush(),
      processes: () => ({ server: self, guard: this.#guards.guard }),
    }
  }

  /** The thread that answers faults is there: what is left of `open` takes a few milliseconds. */
  ready(): Promise<void> {
    return this.#parts.faults.ready()
  }

  /**
   * Begins to serve: first the VMs of a server that died, then orders. This process
   * holds the lock (`lockServer`). Orders are taken while the fault thread still starts: a VM is loaded and
   * faults only after that, and until the thread is there its faults wait in the kernel.
   */
  async open({ found, before }: { found: readonly FoundVm[]; before?: ProcessIdentity }): Promise<void> {
    await Promise.all(found.map((vm) => this.#takeOver(vm)))
    this.#orderSocket = await startLineServer(
      this.#root.control,
      (request) => this.#answer(request),
      () => this.#left && this.#options.onEnd(),
    )
    if (before !== undefined) this.#guards.begin()
    setInterval(() => this.#look(), lookMs)
    setTimeout(() => this.#parts.prefetchPool.warm(), 1000)
    setTimeout(() => this.#guards.guard ?? this.#guards.begin(), nameGuardMs)
  }

  async #takeOver(found: FoundVm): Promise<void> {
    try {
      const vm = this.#add(found.config)
      await vm.takeOver(found).catch((error: unknown) => vm.fail(error))
    } catch (error) {
      if (found.handshake !== null) closeSync(found.handshake.userfaultfd)
      killUnserved(found.config, `the next page server could not take over: ${(error as Error).message}`)
      removeServedVm(this.#root.vms, found.config.vmm)
    }
  }

  async #answer({ op, config, pid, startTime }: LineRequest): Promise<object> {
    switch (op) {
      case 'serve':
        if (typeof config !== 'string') return { error: 'config is not a path' }
        // If this server leaves there is no answer: the connection closes, and the order is sent to the
        // successor.
        while (this.#leaving !== undefined) await this.#leaving
        await this.#serve(config)
        return this.#parts.processes()
      case 'guard':
        if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startTime)) return { error: 'not a process' }
        this.#guards.watch({ pid: pid as number, startTime: startTime as number })
        this.#idleSince = performance.now()
        return {}
      case 'leave':
        if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startTime)) return { error: 'not a process' }
        return this.#leave({ pid: pid as number, startTime: startTime as number })
      case 'processes':
        this.#parts.rush.expect()
        return this.#parts.processes()
      default:
        return { error: `no operation ${JSON.stringify(op)}` }
    }
  }

  /**
   * Ends without a word to its VMs, which only pause until the successor, which stands by, has the lock.
   * First it waits for the VMs that it is taking on: a handshake that was sent and not noted would end with
   * this process. New orders wait meanwhile.
   */
  async #leave(successor: ProcessIdentity): Promise<object> {
    // The server that the order was meant for ended by itself, and this is its successor already.
    if (successor.pid === this.#self.pid && successor.startTime === this.#self.startTime) return {}
    let stay = () => {}
    this.#leaving = new Promise((resolve) => {
      stay = resolve
    })
    try {
      this.#assertNothingRecorded()
      for (const deadline = performance.now() + takeOnMs; this.#takesOn(); await sleep(takeOnLookMs))
        if (performance.now() > deadline)
          throw new VarveError('MACHINE_STATE', `a VM has been loading for ${takeOnMs} ms; try again`)
      this.#assertNothingRecorded()
      nameSuccessor(this.#root.successor, successor)
      this.#left = true
      return {}
    } catch (error) {
      this.#leaving = undefined
      stay()
      throw error
    }
  }

  #assertNothingRecorded(): void {
    const recorded = [...this.#vms.values()].find((vm) => vm.recording)
    if (recorded !== undefined)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        `a recording of the VM in ${recorded.config.directory} is running, and would be lost; end it first`,
      )
  }

  #takesOn(): boolean {
    this.#sweep()
    return this.#orders > 0 || [...this.#vms.values()].some((vm) => vm.isBeingTakenOn())
  }

  async #serve(configPath: string): Promise<void> {
    this.#orders++
    try {
      // A VM that has ended still has its sockets here; the next one may be of
      // the same name, in the same place.
      this.#sweep()
      const config = readPageServerConfig(configPath)
      // A server can die after it carried out an order and before it answered; then the client sends the
      // order again.
      const served = this.#vmOf(config.vmm)
      if (served !== undefined) {
        if (served.config.directory !== config.directory)
          throw new VarveError(
            'ALREADY_EXISTS',
            `process ${config.vmm.pid} is served in ${served.config.directory}`,
          )
        return await served.opened
      }
      // Before any VM can depend on it.
      addServedVm(this.#root.vms, config)
      try {
        const vm = this.#add(config)
        await vm.open().catch(async (error: unknown) => {
          await vm.end()
          throw error
        })
      } catch (error) {
        removeServedVm(this.#root.vms, config.vmm)
        throw error
      }
    } finally {
      this.#orders--
      this.#idleSince = performance.now()
    }
  }

  #vmOf(vmm: ProcessIdentity): ServedVm | undefined {
    return [...this.#vms.values()].find(
      ({ config }) => config.vmm.pid === vmm.pid && config.vmm.startTime === vmm.startTime,
    )
  }

  #add(config: PageServerConfig): ServedVm {
    holdMachine(config.directory, this.#self)
    let vm: ServedVm
    try {
      vm = new ServedVm(this.#numbers++, config, this.#parts)
    } catch (error) {
      releaseMachine(config.directory)
      throw error
    }
    this.#vms.set(vm.number, vm)
    this.#watchVms()
    void vm.ended.then(() => this.#forget(vm))
    return vm
  }

  #forget(vm: ServedVm): void {
    removeServedVm(this.#root.vms, vm.config.vmm)
    this.#vms.delete(vm.number)
    this.#watchVms()
    this.#idleSince = performance.now()
  }

  #watchVms(): void {
    this.#poller = new Poller([...this.#vms.values()].map(({ pidfd }) => pidfd))
  }

  #sweep(): void {
    if (this.#poller.wait(0) === 0) return
    ;[...this.#vms.values()].forEach((vm, index) => {
      if (this.#poller.readable(index)) void vm.end()
    })
  }

  #look(): void {
    this.#sweep()
    for (const vm of [...this.#vms.values()]) vm.look()
    if (this.#vms.size > 0) this.#guards.check()
    else if (this.#orders === 0 && this.#isOver()) this.#options.onEnd()
  }

  #isOver(): boolean {
    if (!existsSync(this.#root.own)) return true
    // As long as there is no guard, the process that starts the server is still busy with it.
    return this.#guards.guard !== null && performance.now() - this.#idleSince > this.#options.lingerMs
  }

  async stop(): Promise<void> {
    // Only a process that has opened it: after a hand-over it is the new server's, and the old guard stops
    // later than that.
    this.#orderSocket?.close()
    await this.#parts.faults.stop()
  }
}
