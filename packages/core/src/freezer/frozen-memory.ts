import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { copiedBytesOf } from '../memory/frozen-copies.js'
import { Injection } from '../sys/inject/injection.js'
import type { Tracee } from '../sys/inject/ptrace.js'
import { systemCall } from '../sys/inject/system-call.js'
import { type ProcessIdentity, standsStill } from '../sys/proc.js'

/**
 * The memory of a VMM as it was when it was forked: a child that stands still for ever. It shares each page
 * with the VMM until that writes to it. It has nothing of the VMM open. Disposed of, it is killed; it ends
 * with its tracer, too.
 */
export class FrozenMemory implements Disposable {
  readonly #tracee: Tracee
  readonly #memory: number

  private constructor(tracee: Tracee) {
    this.#tracee = tracee
    this.#memory = openSync(`/proc/${tracee.identity.pid}/mem`, 'r')
  }

  static of(tracee: Tracee): FrozenMemory {
    try {
      const injection = Injection.begin(tracee)
      injection.call('close_range', systemCall.close_range, [0, 2 ** 32 - 1, 0])
      injection.end()
      preferForKilling(tracee.identity)
      return new FrozenMemory(tracee)
    } catch (error) {
      tracee.kill()
      throw error
    }
  }

  get identity(): ProcessIdentity {
    return this.#tracee.identity
  }

  /** Fills the buffer from an address of the VMM on. HOST_UNSUPPORTED if the child was killed. */
  read(address: number, into: Uint8Array): void {
    try {
      if (readMemory(this.#memory, address, into)) return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
    }
    throw this.#wasKilled()
  }

  /**
   * To be called when all is read. Where memory runs out, the kernel takes pages from a process that it has
   * killed before the process is gone: what is read then may be another page. HOST_UNSUPPORTED if so.
   */
  assertWhole(): void {
    if (!standsStill(this.identity)) throw this.#wasKilled()
  }

  #wasKilled(): VarveError {
    return new VarveError('HOST_UNSUPPORTED', `the frozen memory was killed (process ${this.identity.pid})`, {
      remedy: 'give the host, or the cgroup of the VM, more memory, or use mode stop',
    })
  }

  /**
   * How many bytes only the child still has: copies that writes of the guest have cost. 0 if it has ended.
   */
  get copiedBytes(): number {
    return copiedBytesOf(this.identity.pid) ?? 0
  }

  [Symbol.dispose](): void {
    closeSync(this.#memory)
    this.#tracee.kill()
  }
}

/** Where memory runs out, the kernel ends the child, and the VM lives on. */
function preferForKilling({ pid }: ProcessIdentity): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '1000')
  } catch {
    // A child that is not preferred is as right.
  }
}

/** Fills the buffer from a /proc/PID/mem; false if the process has ended. */
export function readMemory(fd: number, address: number, into: Uint8Array): boolean {
  for (let done = 0; done < into.length; ) {
    const count = readSync(fd, into, done, into.length - done, address + done)
    if (count === 0) return false
    done += count
  }
  return true
}
