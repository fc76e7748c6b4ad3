import { existsSync, openSync, rmSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { lockDescriptor } from '../../sys/file-lock.js'
import { Poller } from '../../sys/poll.js'
import { processIdentity } from '../../sys/proc.js'
import { readPageServerConfig } from './config.js'
import { FaultThread } from './fault-thread.js'
import { GuardWatch } from './guard-watch.js'
import { LayerMappings } from './layer-mappings.js'
import { type LineRequest, startLineServer } from './line-server.js'
import { pageServerRoot } from './page-server-files.js'
import { PrefetchPool } from './prefetch-pool.js'
import { ServedVm, type ServerParts } from './served-vm.js'
import { addServedVm, removeServedVm } from './served-vms.js'

/** How soon the server notices that a VM, or its guard, has ended. Nothing waits for that. */
const lookMs = 100

export interface PageServerOptions {
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
  readonly #parts: ServerParts
  readonly #vms = new Map<number, ServedVm>()
  #poller = new Poller([])
  #numbers = 0
  /** Orders that are being carried out. */
  #orders = 0
  #idleSince = performance.now()

  constructor(options: PageServerOptions) {
    this.#options = options
    this.#root = pageServerRoot(options.runtime)
    const self = processIdentity(process.pid)
    if (self === undefined) throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted')
    this.#guards = new GuardWatch({ server: self, runtime: options.runtime })
    this.#parts = {
      faults: new FaultThread({
        onVmFailure: (vm, reason) => this.#vms.get(vm)?.fail(reason),
        onFailure: options.onFailure,
      }),
      mappings: new LayerMappings(),
      prefetches: new PrefetchPool(),
      processes: () => ({ server: self, guard: this.#guards.guard }),
    }
  }

  /** ALREADY_EXISTS where another process serves this directory. */
  async open(): Promise<void> {
    // Held until the process ends, however it does.
    const lock = openSync(this.#root.serverLock, 'a', 0o600)
    if (!lockDescriptor(lock, this.#root.serverLock))
      throw new VarveError('ALREADY_EXISTS', `another process serves ${this.#root.own}`)
    await this.#parts.faults.ready()
    // A server that was killed leaves its socket.
    rmSync(this.#root.control, { force: true })
    await startLineServer(this.#root.control, (request) => this.#answer(request))
    setInterval(() => this.#look(), lookMs)
    setTimeout(() => this.#parts.prefetches.warm(), 1000)
  }

  async #answer({ op, config, pid, startTime }: LineRequest): Promise<object> {
    switch (op) {
      case 'serve':
        if (typeof config !== 'string') return { error: 'config is not a path' }
        await this.#serve(config)
        return this.#parts.processes()
      case 'guard':
        if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startTime)) return { error: 'not a process' }
        this.#guards.watch({ pid: pid as number, startTime: startTime as number })
        return {}
      case 'processes':
        return this.#parts.processes()
      default:
        return { error: `no operation ${JSON.stringify(op)}` }
    }
  }

  async #serve(configPath: string): Promise<void> {
    this.#orders++
    try {
      // A VM that has ended still has its sockets here; the next one may be of the same name, in the same place.
      this.#sweep()
      const vm = new ServedVm(this.#numbers++, readPageServerConfig(configPath), this.#parts)
      this.#vms.set(vm.number, vm)
      this.#watchVms()
      void vm.ended.then(() => this.#forget(vm))
      try {
        // Before anybody can depend on it.
        addServedVm(this.#root.vms, vm.config)
        await vm.open()
      } catch (error) {
        await vm.end()
        throw error
      }
    } finally {
      this.#orders--
      this.#idleSince = performance.now()
    }
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
    if (this.#vms.size > 0) this.#guards.check()
    else if (this.#orders === 0 && this.#isOver()) this.#options.onEnd()
  }

  #isOver(): boolean {
    return performance.now() - this.#idleSince > this.#options.lingerMs || !existsSync(this.#root.own)
  }

  async stop(): Promise<void> {
    rmSync(this.#root.control, { force: true })
    await this.#parts.faults.stop()
  }
}
