import { warmUpLive } from '../capture/live-taker.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import {
  type BegunRestore,
  beginFrozen,
  type RestoreFrozenOptions,
  warmUpFrozen,
} from '../restore/restore-frozen.js'
import { unawaited } from '../restore/unawaited.js'
import { defaultParallel, type OnCloneFailure } from './clones.js'

interface Plan {
  readonly count: number
  readonly parallel: number | undefined
  readonly onFailure: OnCloneFailure
}

/**
 * What clones of a machine need besides its memory, started while the capture is being prepared: the helper
 * processes, and the VMMs of as many clones as are made at a time. The VMMs end with this process. Disposed
 * of, those that were not taken end.
 */
export class LaunchesAhead implements AsyncDisposable {
  readonly #source: RunningMachine | PausedMachine
  readonly #optionsOf: (number: number) => RestoreFrozenOptions
  readonly #onFailure: OnCloneFailure
  readonly #isAll: boolean
  readonly #begun = new Map<number, BegunRestore>()

  constructor(
    source: RunningMachine | PausedMachine,
    { count, parallel = defaultParallel, onFailure }: Plan,
    optionsOf: (number: number) => RestoreFrozenOptions,
  ) {
    this.#source = source
    this.#optionsOf = optionsOf
    this.#onFailure = onFailure
    const ahead = Math.min(count, parallel)
    this.#isAll = ahead === count
    warmUpLive()
    for (let number = 1; number <= ahead; number++) this.#begun.set(number, this.#begin(number))
  }

  /** Rejects if it is certain that the call will fail: then nothing need be captured. */
  ready(signal: AbortSignal): Promise<void> {
    return unawaited(this.#allReady(signal))
  }

  async #allReady(signal: AbortSignal): Promise<void> {
    const [warm, launched] = await Promise.all([
      Promise.allSettled([warmUpFrozen({ ...this.#optionsOf(1), signal })]),
      Promise.allSettled([...this.#begun.values()].map(({ launching }) => launching)),
    ])
    for (const it of warm) if (it.status === 'rejected') throw it.reason
    const failed = launched.filter((it) => it.status === 'rejected')
    const allFailed = this.#isAll && failed.length === launched.length
    if (failed[0] !== undefined && (this.#onFailure === 'stop' || allFailed)) throw failed[0].reason
  }

  #begin(number: number): BegunRestore {
    return beginFrozen(this.#source.firecrackerVersion, this.#optionsOf(number))
  }

  /** That of a clone, for which the caller answers from now on. */
  take(number: number): BegunRestore {
    const begun = this.#begun.get(number) ?? this.#begin(number)
    this.#begun.delete(number)
    return begun
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#begun.values()].map((begun) => begun[Symbol.asyncDispose]()))
    this.#begun.clear()
  }
}
