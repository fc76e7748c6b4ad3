import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import type { ServedGraduation } from '../protocol/served-graduation.js'
import { waitMs } from './wait-ms.js'

/** How far one VM is on its way to needing no page server. */
export class VmGraduation {
  readonly #wanted: boolean
  #report: ServedGraduation = { state: 'waiting', failure: null, copiedPages: 0, ms: null }
  #startedAt = 0
  #ends: () => void = () => {}
  readonly #end = new Promise<void>((resolve) => {
    this.#ends = resolve
  })

  constructor(wanted: boolean) {
    this.#wanted = wanted
  }

  get report(): ServedGraduation {
    return this.#report
  }

  begin(): void {
    this.#startedAt = performance.now()
    this.#report = { ...this.#report, state: 'running' }
  }

  end(end: Omit<ServedGraduation, 'ms'>): void {
    this.#report = { ...end, ms: performance.now() - this.#startedAt }
    this.#ends()
  }

  /** For the VM's owner. INVALID_ARGUMENT if the VM is not to graduate. */
  async answer(wait: boolean): Promise<object> {
    if (!this.#wanted) throw new VarveError('INVALID_ARGUMENT', 'this VM was restored without graduate')
    if (wait) await Promise.race([this.#end, sleep(waitMs, undefined, { ref: false })])
    return this.#report
  }
}
