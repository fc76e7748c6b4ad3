import { MicroConsole } from '@varve/lab'
import {
  type LocalStore,
  type PausedMachine,
  type ProcessIdentity,
  type RunningMachine,
  takeSnapshot,
} from 'varve'
import type { ImageId } from 'varve/layers'
import { type Content, changeContent, contentTag, verifyContent } from './content.js'
import type { KnownVm } from './context.js'
import type { Random } from './random.js'

export interface VmCapture {
  /** Without a parent. */
  readonly full: boolean
  readonly unique: string
  /** Called before anything is written. */
  begin(): void
  /** Called once the snapshot has its names. */
  named(id: ImageId, tags: readonly string[]): void
}

interface CaptureFacts {
  readonly tag: string
  readonly type: 'Full' | 'Diff'
  /** The first eight digits. */
  readonly parent: string | null
}

/** One micro guest of this worker: the current handle, its console, and what its memory must hold. */
export class Vm implements KnownVm {
  machine: RunningMachine | PausedMachine
  readonly console: MicroConsole
  content: Content
  /**
   * Positions in the ledger before it was made and after its first answer: an event in between may show
   * later.
   */
  readonly begun: number
  ready = Number.POSITIVE_INFINITY

  constructor(
    machine: RunningMachine | PausedMachine,
    content: Content,
    begun: number,
    console = MicroConsole.attach(machine.paths),
  ) {
    this.machine = machine
    this.content = content
    this.begun = begun
    this.console = console
  }

  get id(): string {
    return this.machine.id
  }
  get identity(): ProcessIdentity {
    return this.machine.identity
  }

  /** An answer of the guest, or the reason why the VM ended, if that comes first. */
  async answer<T>(work: Promise<T>): Promise<T> {
    const ended = this.machine.exited.then(async (): Promise<never> => {
      throw await this.machine.exitedError()
    })
    ended.catch(() => {})
    work.catch(() => {})
    return await Promise.race([work, ended])
  }

  verify(random: Random): Promise<number> {
    return this.answer(verifyContent(this.console, this.content, random))
  }

  async change(random: Random): Promise<void> {
    this.content = await this.answer(changeContent(this.console, this.content, random))
  }

  async resume(): Promise<void> {
    if (this.machine.state === 'paused') this.machine = await this.machine.resume()
  }

  /**
   * As `varve snapshot create` does it: the guest goes on before the layer is sealed.
   */
  async capture(store: LocalStore, { full, unique, begin, named }: VmCapture): Promise<CaptureFacts> {
    const parent = full ? undefined : (this.machine.snapshotId ?? undefined)
    const tag = contentTag(this.content, unique)
    const paused = this.machine.state === 'running' ? await this.machine.pause() : this.machine
    this.machine = paused
    const take = async () => {
      try {
        return await takeSnapshot(paused, { store, ...(full ? { base: 'Full' } : { parent }) })
      } finally {
        await this.resume()
      }
    }
    await using taken = await take()
    begin()
    const { entry } = await taken.seal({ tags: [tag] })
    named(entry.id, [tag])
    return { tag, type: taken.type, parent: parent?.slice(0, 8) ?? null }
  }

  async stop(): Promise<void> {
    await this.console[Symbol.asyncDispose]()
    await this.machine.stop()
  }

  async detach(): Promise<void> {
    await this.console[Symbol.asyncDispose]()
    this.machine.detach()
  }
}
