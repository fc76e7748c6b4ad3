import {
  type CapturedSnapshot,
  captureSnapshot,
  type EngineName,
  type FirecrackerBinary,
  type ParentOptions,
  type PausedMachine,
  type RestoreReport,
  type RunningMachine,
  type SnapshotStore,
} from 'varve'
import { bootMicroGuest } from './boot-micro-guest.js'
import type { MicroConsole } from './micro-console.js'
import type { TouchPattern } from './patterns.js'
import { restoreMicroGuest } from './restore-micro-guest.js'

/** Where micro guests run, and the store that they are captured into. */
export interface MicroVmPlace {
  readonly binary: FirecrackerBinary
  readonly runtimeDirectory: string
  readonly store: SnapshotStore
}

/** What a stretch of guest memory must hold. */
export interface Written {
  readonly pattern: TouchPattern
  readonly seed: number
}

/** A micro guest through its life: the current handle and its console. */
export class MicroVm implements AsyncDisposable {
  #machine: RunningMachine | PausedMachine
  readonly console: MicroConsole

  private constructor(machine: RunningMachine | PausedMachine, console: MicroConsole) {
    this.#machine = machine
    this.console = console
  }

  static async boot(
    place: MicroVmPlace,
    options: { memoryMib: number; trackDirtyPages?: boolean; hugePages?: boolean },
  ): Promise<MicroVm> {
    const { binary, runtimeDirectory } = place
    const { machine, console } = await bootMicroGuest({ binary, runtimeDirectory, ...options })
    return new MicroVm(machine, console)
  }

  /** Restored and still paused. */
  static async restore(place: MicroVmPlace, ref: string, engine: EngineName): Promise<MicroVm> {
    return (await MicroVm.restoreWithReport(place, ref, engine)).vm
  }

  static async restoreWithReport(
    place: MicroVmPlace,
    ref: string,
    engine: EngineName,
  ): Promise<{ readonly vm: MicroVm; readonly report: RestoreReport }> {
    const { machine, report, console } = await restoreMicroGuest(place, ref, { engine, resume: false })
    return { vm: new MicroVm(machine, console), report }
  }

  get machine(): RunningMachine | PausedMachine {
    return this.#machine
  }

  async pause(): Promise<PausedMachine> {
    if (this.#machine.state === 'running') this.#machine = await this.#machine.pause()
    return this.#machine as PausedMachine
  }

  async resume(): Promise<RunningMachine> {
    if (this.#machine.state === 'paused') this.#machine = await this.#machine.resume()
    return this.#machine as RunningMachine
  }

  /** Pauses and captures into the place's store under a tag. */
  async capture(place: MicroVmPlace, tag: string, options: ParentOptions = {}): Promise<CapturedSnapshot> {
    return captureSnapshot(await this.pause(), { store: place.store, tags: [tag], ...options })
  }

  async fill(...all: readonly Written[]): Promise<void> {
    for (const { pattern, seed } of all) await this.console.fill(pattern, seed)
  }

  /** Has the guest itself check whole pages, word by word. Gives the number of pages. */
  async verify(...all: readonly Written[]): Promise<number> {
    let pages = 0
    for (const { pattern, seed } of all) pages += await this.console.verify(pattern, seed)
    return pages
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.console[Symbol.asyncDispose]()
    await this.#machine.stop()
  }
}
