import { closeSync, constants, openSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { F_WRLCK } from '../sys/abi.js'
import { endLease, leaseIsAwaited, takeLease } from '../sys/file-lease.js'
import { assertParent } from '../sys/parent-death.js'
import { isEnding, type ProcessIdentity } from '../sys/proc.js'

const lookMs = 0.1
/** Every so many looks: is the VMM still there. */
const looksPerCheck = 500
/** Of `lease-break-time`, 45 s by default, after which the kernel lets the VMM go on. */
const mostMs = 30_000

/**
 * Holds Firecracker's main thread at the one moment at which its state is saved and nothing of it is written:
 * when it opens the state file. We have a write lease on that file (fcntl(2), F_SETLEASE), so the kernel has
 * the open wait until we give the lease back. Until then no device of the VM can write to guest memory, as
 * they all work in that thread.
 */
export class StateLease implements Disposable {
  readonly #fd: number
  readonly #owner = process.ppid
  readonly #sleep = new Int32Array(new SharedArrayBuffer(4))

  private constructor(fd: number) {
    this.#fd = fd
  }

  /** HOST_UNSUPPORTED if files there cannot have leases. */
  static take(path: string): StateLease {
    const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
    const error = takeLease(fd, F_WRLCK)
    if (error === null) return new StateLease(fd)
    closeSync(fd)
    throw new VarveError('HOST_UNSUPPORTED', `fcntl F_SETLEASE failed with ${error}: ${path}`, {
      details: { call: 'fcntl F_SETLEASE', errno: error },
    })
  }

  /**
   * Waits until the VMM opens the file, and so until it waits. MACHINE_EXITED, TIMEOUT, INTERRUPTED if the
   * parent of this process has ended, who may have asked for no state.
   */
  awaitOpen(vmm: ProcessIdentity): void {
    const until = performance.now() + mostMs
    for (let looks = 0; !leaseIsAwaited(this.#fd); looks++) {
      if (looks % looksPerCheck === 0) {
        if (isEnding(vmm))
          throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} ended before it wrote its state`)
        assertParent(this.#owner)
      }
      if (performance.now() > until)
        throw new VarveError('TIMEOUT', `process ${vmm.pid} did not write its state within ${mostMs} ms`)
      Atomics.wait(this.#sleep, 0, 0, lookMs)
    }
  }

  /** Lets the VMM go on. False if the kernel had done so before: then it was not held all the time. */
  release(): boolean {
    return endLease(this.#fd)
  }

  [Symbol.dispose](): void {
    // With the descriptor goes the lease.
    closeSync(this.#fd)
  }
}
