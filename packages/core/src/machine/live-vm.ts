import { dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import type { ApiClient } from '../firecracker/api-client.js'
import { describeExit, type VmmExit } from '../firecracker/vmm-exit.js'
import type { VmmProcess } from '../firecracker/vmm-process.js'
import { FirstAbort } from '../first-abort.js'
import { onProcessEnd } from '../sys/exit-hooks.js'
import { type FileLock, lock } from '../sys/file-lock.js'
import type { Holder } from '../sys/holder.js'
import type { HeldLife } from '../sys/life-lock.js'
import { type Death, forgetDeathNote, lookAtDeath } from './death-note.js'
import { endAndRemove } from './end-machine.js'
import { warnIfGoesAtLogout } from './login-session.js'
import { changeLeases } from './machine-leases.js'
import { vmmHolder } from './machine-life.js'
import { ensureLogKeeper, keepLogsBounded } from './machine-logs.js'
import { changeRecord, currentRecord, type MachineLeases, type MachineRecord } from './machine-record.js'
import { untilExit } from './until-exit.js'

export type MachineState = 'launched' | 'running' | 'paused'

/**
 * One VMM process with everything that its handles share: the record, the order of steps, the end. Steps run
 * one after another, also those of other processes that have this machine; a step that the present state does
 * not allow fails with MACHINE_STATE before anything is sent.
 */
export class LiveVm {
  readonly process: VmmProcess
  readonly api: ApiClient
  #record: MachineRecord
  #state: MachineState
  /** Counts state changes, so that an old handle knows it is old. */
  #generation = 0
  #last: Promise<unknown> = Promise.resolve()
  #takeBackHook: (() => void) | undefined
  #ending: Promise<VmmExit> | undefined
  #detached = false
  #owner: HeldLife | undefined
  #leaveLogs: (() => void) | undefined
  /** Read once, because the directory is removed with the machine. */
  #death: Death | undefined
  readonly #ended = new AbortController()

  /** `owner`: the owner's lock, if this process owns the machine. */
  constructor(
    process: VmmProcess,
    api: ApiClient,
    record: MachineRecord,
    state: MachineState,
    owner?: HeldLife,
  ) {
    this.process = process
    this.api = api
    this.#record = record
    this.#state = state
    this.#owner = owner
    if (owner !== undefined) this.#leaveLogs = keepLogsBounded(process.paths.directory)
    void process.exited.then(() => this.#exited())
    if (owner !== undefined)
      this.#takeBackHook = onProcessEnd(() => endAndRemove(this.process.paths.directory, this.#record))
  }

  /** Removes all of the machine after its VMM has ended, because only this process knows of it. */
  #exited(): void {
    this.#death = lookAtDeath(this.process.paths, this.#record)
    this.#ended.abort()
    if (this.#owner === undefined || this.#ending !== undefined) return
    try {
      endAndRemove(this.process.paths.directory, this.currentRecord, { note: true })
      this.#disown()
    } catch {
      // The next listing, or the end of this process, tries again.
    }
  }

  #disown(): void {
    this.#takeBackHook?.()
    this.#takeBackHook = undefined
    this.#leaveLogs?.()
    this.#leaveLogs = undefined
    this.#owner?.release()
    this.#owner = undefined
  }

  /** As this process knows it: what never changes, and what only it changes. */
  get record(): MachineRecord {
    return this.#record
  }
  /** As it is on disk: another process may have taken steps with this machine since. */
  get currentRecord(): MachineRecord {
    this.#record = currentRecord(this.process.paths.directory, this.#record) ?? this.#record
    return this.#record
  }
  /** The VMM in the form in which its leases and disk copies name it. */
  get holder(): Holder {
    return vmmHolder(this.process.paths.directory, { ...this.#record, process: this.process.identity })
  }
  get detached(): boolean {
    return this.#detached
  }
  get state(): MachineState {
    return this.#state
  }
  get generation(): number {
    return this.#generation
  }

  updateRecord(change: Partial<MachineRecord> | ((now: MachineRecord) => Partial<MachineRecord>)): void {
    this.#record = changeRecord(
      this.process.paths.directory,
      this.#record,
      typeof change === 'function' ? change : () => change,
    )
  }

  /** As `changeLeases` of machine-leases.ts. */
  updateLeases(
    offered: string | null,
    change: (now: MachineRecord) => Partial<MachineRecord> & { readonly leases: MachineLeases },
  ): void {
    this.#record = changeLeases(this.process.paths.directory, this.#record, offered, change)
  }

  /**
   * Runs one step of the machine's life. `from` is the state and generation the calling handle stands for;
   * `to` the state after success. On failure the state stays.
   */
  step<T>(
    name: string,
    from: { state: MachineState; generation: number },
    to: MachineState,
    run: () => Promise<T>,
    signal?: AbortSignal | undefined,
  ): Promise<T> {
    return this.#inTurn(
      name,
      () => this.#assertCurrent(name, from),
      async () => {
        const value = await run()
        if (to !== from.state) {
          this.#state = to
          this.#generation++
        }
        return value
      },
      signal,
    )
  }

  /**
   * A step that leaves the machine in the state in which it finds it, so that
   * an older handle may take it too.
   */
  stepAside<T>(name: string, run: () => Promise<T>, signal?: AbortSignal | undefined): Promise<T> {
    return this.#inTurn(name, () => this.#assertLives(name), run, signal)
  }

  /** A question changes nothing, so it waits for no step. */
  async ask<T>(name: string, run: () => Promise<T>): Promise<T> {
    this.#assertLives(name)
    return await untilExit(this.process, run, (cause) => this.#exitError(name, cause))
  }

  #inTurn<T>(
    name: string,
    check: () => void,
    run: () => Promise<T>,
    signal?: AbortSignal | undefined,
  ): Promise<T> {
    const result = this.#last.then(async () => {
      check()
      await using _turn = await this.#turn(name, signal)
      check()
      return await untilExit(this.process, run, (cause) => this.#exitError(name, cause))
    })
    this.#last = result.catch(() => {})
    return result
  }

  /**
   * Waits until no other process takes a step with this machine: what a Diff counts from must not change
   * between a look at the record and the answer of Firecracker.
   */
  async #turn(name: string, signal: AbortSignal | undefined): Promise<FileLock> {
    using stop = new FirstAbort([this.#ended.signal, signal])
    try {
      return await lock(join(this.process.paths.directory, 'steps.lock'), { signal: stop.signal })
    } catch (error) {
      // The directory goes with the machine.
      if (signal?.aborted !== true && (this.process.exit || this.#ending || codeOf(error) === 'ENOENT'))
        throw this.#exitError(name, error)
      throw error
    }
  }

  #assertLives(name: string): void {
    if (this.#detached)
      throw new VarveError(
        'MACHINE_STATE',
        `${name}: ${this.#record.id} was detached; this handle has ended`,
        {
          remedy: `connectMachine(${JSON.stringify(this.#record.id)}) gives another one`,
        },
      )
    if (this.#ending || this.process.exit) throw this.#exitError(name)
  }

  #assertCurrent(name: string, from: { state: MachineState; generation: number }): void {
    this.#assertLives(name)
    if (from.generation !== this.#generation)
      throw new VarveError(
        'MACHINE_STATE',
        `${name}: this handle of ${this.#record.id} is from an earlier state; the machine is ${this.#state} now`,
        {
          remedy: 'use the handle that the last step returned',
        },
      )
  }

  #exitError(name: string, cause?: unknown): VarveError {
    const { id } = this.#record
    const options = cause === undefined ? {} : { cause }
    const { killed, words, console } = this.#death ?? lookAtDeath(this.process.paths, this.#record)
    if (killed !== null)
      return new VarveError('PAGE_SERVER_DIED', `${name}: machine ${id} was killed: ${killed}`, options)
    if (this.#ending) return new VarveError('MACHINE_EXITED', `${name}: machine ${id} was stopped`, options)
    const how = this.process.exit ? describeExit(this.process.exit) : 'still ending'
    return new VarveError('MACHINE_EXITED', `${name}: Firecracker of ${id} ended (${how}): ${words}`, {
      ...options,
      details: { console },
    })
  }

  /** Why the VM is gone, as an error; for callers that wait on the guest rather than on the API. */
  async exitedError(): Promise<VarveError> {
    await this.process.exited
    return this.#exitError('wait')
  }

  /**
   * Ends the VMM, and removes its directory, copies of disks and
   * leases. Safe to repeat, legal in any state; MACHINE_STATE after it was detached.
   */
  async stop(): Promise<VmmExit> {
    if (this.#detached) this.#assertLives('stop')
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<VmmExit> {
    const exit = await this.process.kill()
    this.api[Symbol.dispose]()
    const { directory } = this.process.paths
    endAndRemove(directory, this.currentRecord)
    // Another process may have seen the VMM's end and noted a death, but this call stopped the machine.
    forgetDeathNote(dirname(dirname(directory)), this.#record)
    this.#disown()
    return exit
  }

  /** From now on the VM outlives this process; `connectMachine` finds it again. */
  detach(): void {
    this.#assertLives('detach')
    this.updateRecord({ owner: null })
    this.#detached = true
    this.#disown()
    this.process.unref()
    this.api[Symbol.dispose]()
    const runtime = dirname(dirname(this.process.paths.directory))
    ensureLogKeeper(runtime)
    warnIfGoesAtLogout(runtime)
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code
