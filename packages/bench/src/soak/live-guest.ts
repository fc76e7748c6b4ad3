import { MicroConsole } from '@varve/lab'
import type { RunningMachine } from 'varve'

export const memoryMib = 64
export const memoryPages = memoryMib * 256

/** Filled one after another, each before a capture, with the number of that capture. */
export const blocks = { start: 1024, pages: 64, count: 48 } as const
/** Written all the time, also while the machine is captured, with the number of the pass, ascending. */
export const passes = { start: 4096, count: 2048 } as const
/** Written once, as the blocks are at first: a restored machine has these from the snapshot. */
export const still = { start: 6144, count: memoryPages - 6144 } as const
export const stillSeed = 1

/** Passes have other seeds than captures. */
const firstPass = 1_000_000

export const blockOf = (index: number) => ({
  start: blocks.start + index * blocks.pages,
  count: blocks.pages,
})

/** The guest of a soak: it works all the time, and what its blocks hold is known. */
export class LiveGuest implements AsyncDisposable {
  readonly console: MicroConsole
  /** By block. */
  readonly #seeds: number[] = Array(blocks.count).fill(stillSeed)
  #writer: Promise<void> = Promise.resolve()
  #failure: unknown
  #stop = false

  constructor(machine: RunningMachine) {
    this.console = MicroConsole.attach(machine.paths)
  }

  /** What its blocks hold now, by block. */
  get seeds(): readonly number[] {
    return [...this.#seeds]
  }

  begin(): void {
    this.#writer = this.#write().catch((error: unknown) => {
      this.#failure = error
    })
  }

  async #write(): Promise<void> {
    for (let pass = firstPass; !this.#stop; pass++) await this.console.write(passes, pass)
  }

  /** Fills the next block with a number. */
  async fillNext(number: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const index = number % blocks.count
    await this.console.fill(blockOf(index), number)
    this.#seeds[index] = number
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop = true
    await this.#writer
    await this.console[Symbol.asyncDispose]()
  }
}
