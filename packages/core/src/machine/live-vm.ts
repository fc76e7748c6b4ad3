import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import type { ApiClient } from '../firecracker/api-client.js'
import { describeExit, type VmmExit, type VmmProcess } from '../firecracker/vmm-process.js'
import { onProcessEnd } from './exit-hooks.js'
import { endAndRemove, type MachineRecord, writeRecord } from './runtime-directory.js'

export type MachineState = 'launched' | 'running' | 'paused'

/** How long a broken API connection waits for the process's end, to tell "it died" from "the socket broke". */
const exitGraceMs = 1000

/**
 * One VMM process with everything that its handles share: the record, the order of steps, the end. Steps run one
 * after another; a step that the present state does not allow fails with MACHINE_STATE before anything is sent.
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

  constructor(process: VmmProcess, api: ApiClient, record: MachineRecord, state: MachineState) {
    this.process = process
    this.api = api
    this.#record = record
    this.#state = state
    if (record.owner !== null)
      this.#takeBackHook = onProcessEnd(() => endAndRemove(this.process.paths.directory, this.#record))
  }

  get record(): MachineRecord {
    return this.#record
  }
  get state(): MachineState {
    return this.#state
  }
  get generation(): number {
    return this.#generation
  }

  updateRecord(change: Partial<MachineRecord>): void {
    this.#record = { ...this.#record, ...change }
    writeRecord(this.process.paths.directory, this.#record)
  }

  /**
   * Runs one step of the machine's life. `from` is the state and generation the calling handle stands for; `to` the
   * state after success. On failure the state stays.
   */
  step<T>(
    name: string,
    from: { state: MachineState; generation: number },
    to: MachineState,
    run: () => Promise<T>,
  ): Promise<T> {
    const result = this.#last.then(async () => {
      this.#assertCurrent(name, from)
      const value = await this.#untilExit(name, run)
      if (to !== from.state) {
        this.#state = to
        this.#generation++
      }
      return value
    })
    this.#last = result.catch(() => {})
    return result
  }

  #assertCurrent(name: string, from: { state: MachineState; generation: number }): void {
    if (this.#ending || this.process.exit) throw this.#exitError(name)
    if (from.generation !== this.#generation)
      throw new VarveError(
        'MACHINE_STATE',
        `${name}: this handle of ${this.#record.id} is from an earlier state; the machine is ${this.#state} now`,
        {
          remedy: 'use the handle that the last step returned',
        },
      )
  }

  /** The API never times out by itself: a dead VMM, not a clock, ends the wait. */
  async #untilExit<T>(name: string, run: () => Promise<T>): Promise<T> {
    const work = run()
    const outcome = await Promise.race([
      work.then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      ),
      this.process.exited.then(() => 'exited' as const),
    ])
    if (outcome === 'exited') {
      // An answer that was already on the wire (the fault message of a failed load) is worth more than "it exited".
      const late = await Promise.race([work.catch((error: unknown) => error), delay(50)])
      throw isVarveError(late, 'API_REFUSED') || isVarveError(late, 'LOAD_FAILED')
        ? late
        : this.#exitError(name)
    }
    if ('value' in outcome) return outcome.value
    if (isVarveError(outcome.error, 'API_TRANSPORT')) {
      await Promise.race([this.process.exited, delay(exitGraceMs)])
      if (this.process.exit) throw this.#exitError(name, outcome.error)
    }
    throw outcome.error
  }

  #exitError(name: string, cause?: unknown): VarveError {
    const { id } = this.#record
    const options = cause === undefined ? {} : { cause }
    const reason = deathReason(this.process.paths.directory)
    if (reason !== undefined)
      return new VarveError('PAGE_SERVER_DIED', `${name}: machine ${id} was killed: ${reason}`, options)
    if (this.#ending) return new VarveError('MACHINE_EXITED', `${name}: machine ${id} was stopped`, options)
    const how = this.process.exit ? describeExit(this.process.exit) : 'still ending'
    return new VarveError(
      'MACHINE_EXITED',
      `${name}: Firecracker of ${id} ended (${how}): ${this.process.lastWords()}`,
      options,
    )
  }

  /** Why the VM is gone, as an error; for callers that wait on the guest rather than on the API. */
  async exitedError(): Promise<VarveError> {
    await this.process.exited
    return this.#exitError('wait')
  }

  /** Ends the VMM and everything that serves it, and removes its directory. Safe to repeat, legal in any state. */
  stop(): Promise<VmmExit> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<VmmExit> {
    const exit = await this.process.kill()
    this.api[Symbol.dispose]()
    endAndRemove(this.process.paths.directory, this.#record)
    this.#takeBackHook?.()
    return exit
  }

  /** From now on the VM outlives this process; `connectMachine` finds it again. */
  detach(): void {
    this.updateRecord({ owner: null })
    this.#takeBackHook?.()
    this.#takeBackHook = undefined
    this.process.unref()
    this.api[Symbol.dispose]()
  }
}

/** The guard of a page server leaves this file before it kills the VM. See docs/formats/page-server-protocol.md. */
function deathReason(directory: string): string | undefined {
  try {
    const value = JSON.parse(readFileSync(join(directory, 'death.json'), 'utf8')) as {
      reason?: unknown
      detail?: unknown
    }
    return [value.reason, value.detail].filter((part) => typeof part === 'string').join(': ')
  } catch {
    return undefined
  }
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
}
