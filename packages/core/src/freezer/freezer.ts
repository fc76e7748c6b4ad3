import { rmSync } from 'node:fs'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { failureFromJson } from '../helper/failure-json.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import type { PageSet } from '../memory/page-set.js'
import {
  type AttachOrder,
  type FreezeOrder,
  type FreezerAnswer,
  type FrozenReport,
  type HoldOrder,
  type KeepDiffOrder,
  orderToJson,
  type TakeOrder,
  type WriteOrder,
} from './freeze-protocol.js'
import { type FreezerProcess, keepFreezerProcess, takeFreezerProcess } from './freezer-process.js'
import { readOwedPages } from './owed-pages.js'

type Without<Order> = Omit<Order, 'do'>
type AnswerOf<State extends FreezerAnswer['state']> = Extract<FreezerAnswer, { state: State }>

/**
 * A freezer is a process of its own, as a tracer must not be the parent of what it traces. It serves one
 * capture at a time. Disposed of, it holds nothing frozen any more: it is killed, or waits for the next one.
 */
export class Freezer implements AsyncDisposable {
  readonly #process: FreezerProcess
  #attaching: Promise<unknown> | undefined
  /** Whether all that it was asked it has done. */
  #inOrder = true
  #disposed = false

  private constructor(process: FreezerProcess) {
    this.#process = process
  }

  /** Node takes some 50 ms to start: to be called before the guest is paused. */
  static async start(): Promise<Freezer> {
    const freezer = new Freezer(takeFreezerProcess())
    if (!freezer.#process.isReady) await freezer.#answer('ready')
    freezer.#process.isReady = true
    return freezer
  }

  /** HOST_UNSUPPORTED, INJECTION_FAILED, MACHINE_EXITED. */
  async attach(order: Without<AttachOrder>): Promise<AnswerOf<'attached'>> {
    const attaching = this.#ask({ do: 'attach', ...order }, 'attached')
    this.#attaching = attaching.catch(() => {})
    this.#process.holdsVmm = true
    try {
      return await attaching
    } finally {
      this.#attaching = undefined
      this.#process.holdsVmm = false
    }
  }

  async hold(order: Without<HoldOrder>): Promise<void> {
    await this.#ask({ do: 'hold', ...order }, 'holds')
  }

  /** To be called when Firecracker has been asked to write a snapshot, or just before. */
  take(order: Without<TakeOrder>): Promise<FrozenReport> {
    return this.#ask({ do: 'take', ...order }, 'frozen')
  }

  /** Gives how many pages were written, by the guest and by Firecracker's devices. */
  async keepDiff(order: Without<KeepDiffOrder>): Promise<number> {
    return (await this.#ask({ do: 'keep-diff', ...order }, 'kept')).pages
  }

  /** Ends it at once; what it is asked fails. Not while it attaches. */
  kill(): void {
    this.#inOrder = false
    this.#process.helper.kill()
  }

  /**
   * Where the memory lies that a child holds, and which pages of it are taken. INVALID_ARGUMENT: none does.
   */
  async describe(
    takenPath: string,
    memoryPages: number,
  ): Promise<{ readonly source: FrozenSource; readonly taken: PageSet }> {
    try {
      const { process, regions } = await this.#ask({ do: 'describe', takenPath }, 'described')
      return { source: { process, regions }, taken: readOwedPages(takenPath, memoryPages).written }
    } finally {
      rmSync(takenPath, { force: true })
    }
  }

  /** To be called when the guest runs again. */
  async goesOn(): Promise<void> {
    await this.#ask({ do: 'goes-on' }, 'goes-on')
  }

  /** Gives how many pages the file has. */
  async write(
    order: Without<WriteOrder>,
    {
      signal,
      onProgress,
    }: { readonly signal?: AbortSignal | undefined; onProgress?: ((pages: number) => void) | undefined },
  ): Promise<number> {
    const stop = () => this.kill()
    signal?.addEventListener('abort', stop)
    try {
      if (signal?.aborted === true) throw abortError(signal, 'the capture')
      this.#process.helper.send(orderToJson({ do: 'write', ...order }))
      for (;;) {
        const answer = await this.#next()
        if (answer.state === 'written') return answer.pages
        if (answer.state === 'progress') onProgress?.(answer.pages)
        else throw unexpected(answer.state, 'written')
      }
    } catch (error) {
      throw signal?.aborted === true ? abortError(signal, 'the capture') : error
    } finally {
      signal?.removeEventListener('abort', stop)
    }
  }

  async #ask<State extends FreezerAnswer['state']>(
    order: FreezeOrder,
    state: State,
  ): Promise<AnswerOf<State>> {
    this.#process.helper.send(orderToJson(order))
    return await this.#answer(state)
  }

  async #answer<State extends FreezerAnswer['state']>(state: State): Promise<AnswerOf<State>> {
    const answer = await this.#next()
    if (answer.state !== state) throw unexpected(answer.state, state)
    return answer as AnswerOf<State>
  }

  async #next(): Promise<Exclude<FreezerAnswer, { state: 'failed' }>> {
    const answer = await this.#process.helper.next()
    if (answer.state !== 'failed') return answer
    this.#inOrder = false
    throw failureFromJson(answer.error, 'INJECTION_FAILED')
  }

  /** Disposes of it; but if it did all that it was asked, its process waits for the next capture. */
  async release(): Promise<void> {
    if (!this.#disposed && this.#inOrder)
      try {
        await this.#ask({ do: 'release' }, 'ready')
        this.#disposed = true
        keepFreezerProcess(this.#process)
      } catch {
        // What cannot be reused is killed.
      }
    await this[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    await this.#attaching
    await this.#process.helper.end()
  }
}

const unexpected = (state: string, expected: string): VarveError =>
  new VarveError('INJECTION_FAILED', `the freezer answered ${state}, not ${expected}`)
