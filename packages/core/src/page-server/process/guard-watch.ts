import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { spawnHelper } from '../../helper/spawn-helper.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { pageServerRoot } from '../protocol/page-server-files.js'
import type { GuardOrder } from './orders.js'

/** A guard that dies at once is not started more often than this. */
const restartMs = 1000

/**
 * Keeps a guard for the server. The process that starts the server starts the first guard, in parallel, and
 * names it; if it dies, the server starts the next. Only if both die within the same moment do VMs stand
 * still, until a server is started again.
 */
export class GuardWatch {
  readonly #order: GuardOrder
  #guard: ProcessIdentity | null = null
  #wanted = false
  #startedAt = Number.NEGATIVE_INFINITY

  constructor(order: GuardOrder) {
    this.#order = order
  }

  get guard(): ProcessIdentity | null {
    return this.#guard
  }

  watch(guard: ProcessIdentity): void {
    this.#guard = guard
    this.#wanted = true
  }

  /** No other process starts the first one: this server was a guard itself, and took over. */
  begin(): void {
    this.#wanted = true
    this.check()
  }

  /** To be called often while VMs live. */
  check(): void {
    if (!this.#wanted || (this.#guard !== null && isAlive(this.#guard))) return
    const now = performance.now()
    if (now - this.#startedAt < restartMs) return
    this.#startedAt = now
    const log = openSync(pageServerRoot(this.#order.runtime).guardLog, 'a', 0o600)
    const script = fileURLToPath(new URL('guard-main.js', import.meta.url))
    const child = spawnHelper(script, [JSON.stringify(this.#order)], { stdio: ['ignore', 'ignore', log] })
    closeSync(log)
    // Not started (no memory, no pids left): the next check tries again.
    if (child.pid !== undefined) this.#guard = processIdentity(child.pid) ?? this.#guard
  }
}
