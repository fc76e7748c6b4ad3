import { closeSync } from 'node:fs'
import { isVarveError, VarveError } from '../errors.js'
import { __WALL, CLONE_VM, WNOHANG } from '../sys/abi.js'
import { Injection } from '../sys/inject/injection.js'
import { Tracee } from '../sys/inject/ptrace.js'
import { SyscallTable } from '../sys/inject/syscall-table.js'
import { systemCall } from '../sys/inject/system-call.js'
import { openPidfd, signalPidfd } from '../sys/pidfd.js'
import { openDescriptors, type ProcessIdentity } from '../sys/proc.js'
import { FrozenMemory } from './frozen-memory.js'

const lastDescriptor = 2 ** 32 - 1
/** Notes of an injection hold a page. */
const notesBytes = 4096
/** Of 16 bytes each. What lies in the VMM's memory stays there if this process is killed: 24 KiB. */
const structuresAtOnce = 256

/**
 * A process that shares the memory of a VMM and has its VM open, and nothing else of it. What must be done
 * from within the VMM's memory is done by this process, so that the VMM itself is held for the making of the
 * twin only, for less than a millisecond: a tracer that dies later takes the twin along, and not the VM. The
 * twin never executes an instruction but those of system calls. It is a child of the process that adopts
 * orphans, so that the VMM keeps nothing of it.
 */
export class Twin implements Disposable {
  readonly #tracee: Tracee
  readonly #injection: Injection
  readonly #vm: number
  /** How long an end of this process would have ended the VMM, milliseconds. */
  readonly heldMs: number

  private constructor({ tracee, heldMs }: Cloned, vm: number) {
    this.#tracee = tracee
    this.heldMs = heldMs
    this.#vm = vm
    this.#injection = Injection.begin(tracee, { entries: structuresAtOnce })
  }

  /**
   * HOST_UNSUPPORTED without the rights of ptrace(2), MACHINE_EXITED. INJECTION_FAILED with an `errno` in
   * `details`: the kernel refused, and the VMM runs on as before; without: the VMM was killed. `note`: as of
   * `Tracee.hold`.
   */
  static of(vmm: ProcessIdentity, note: (isHeld: boolean) => void): Twin {
    const vm = vmDescriptor(vmm)
    const cloned = cloneOf(vmm, note)
    try {
      const twin = new Twin(cloned, vm)
      twin.#closeRange(0, vm - 1)
      twin.#closeRange(vm + 1, lastDescriptor)
      return twin
    } catch (error) {
      cloned.tracee.kill()
      throw error
    }
  }

  #closeRange(first: number, last: number): void {
    if (first <= last) this.#injection.call('close_range', systemCall.close_range, [first, last, 0])
  }

  /** Its pid is not given to another process before it is disposed of. */
  get identity(): ProcessIdentity {
    return this.#tracee.identity
  }

  /** Calls ioctl(2) on the VM with each of the structures, which are of one size; gives what it returned. */
  ioctls(request: number, structures: readonly Buffer[]): number[] {
    const { notes } = this.#injection
    const size = structures[0]?.length ?? 1
    const atOnce = Math.floor(notesBytes / size)
    const results: number[] = []
    for (let from = 0; from < structures.length; from += atOnce) {
      const part = structures.slice(from, from + atOnce)
      this.#injection.write(notes, Buffer.concat(part))
      const table = new SyscallTable()
      for (const index of part.keys()) table.add(systemCall.ioctl, this.#vm, request, notes + index * size)
      this.#injection.run(table)
      for (const index of part.keys()) results.push(table.result(index))
    }
    return results
  }

  /** Memory in the VMM for what it is to fill, bytes; `free` gives it back. */
  map(bytes: number): number {
    return this.#injection.mapMemory(bytes)
  }

  free(address: number, bytes: number): void {
    this.#injection.call('munmap', systemCall.munmap, [address, bytes])
  }

  read(address: number, bytes: number): Buffer {
    return this.#injection.read(address, bytes)
  }

  /** The memory of the VMM as it is now, copied by the kernel when the VMM changes it. */
  fork(): FrozenMemory {
    return FrozenMemory.of(this.#injection.clone(0))
  }

  [Symbol.dispose](): void {
    try {
      this.#injection.end()
    } finally {
      this.#tracee.kill()
    }
  }
}

function vmDescriptor(vmm: ProcessIdentity): number {
  const found = openDescriptors(vmm.pid).filter(({ target }) => target === 'anon_inode:kvm-vm')
  if (found.length === 1) return (found[0] as { fd: number }).fd
  throw new VarveError('HOST_UNSUPPORTED', `process ${vmm.pid} has ${found.length} VMs of KVM open, not one`)
}

interface Cloned {
  readonly tracee: Tracee
  readonly heldMs: number
}

/** A clone of the VMM that shares its memory, traced, and not the VMM's child. */
function cloneOf(vmm: ProcessIdentity, note: (isHeld: boolean) => void): Cloned {
  const pidfd = openPidfd(vmm)
  if (pidfd === undefined) throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} has ended`)
  try {
    const tracee = held(vmm, note)
    try {
      const twin = cloneHeld(tracee)
      tracee.detach()
      return { tracee: twin, heldMs: tracee.endedWithTracerMs }
    } catch (error) {
      if (wasRefused(error)) {
        tracee.detach()
        throw error
      }
      signalPidfd(pidfd, 'SIGKILL')
      // Its parent learns of its end only when the tracer has.
      while (tracee.wait().kind !== 'ended');
      throw error
    }
  } finally {
    closeSync(pidfd)
  }
}

function held(vmm: ProcessIdentity, note: (isHeld: boolean) => void): Tracee {
  try {
    return Tracee.hold(vmm, { note })
  } catch (error) {
    if (!isVarveError(error, 'NOT_FOUND')) throw error
    throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} has ended`, { cause: error })
  }
}

const wasRefused = (error: unknown): boolean =>
  isVarveError(error, 'INJECTION_FAILED') && error.details?.errno !== undefined

/** The VMM stands still, and runs on when this returns, or throws what the kernel refused. */
function cloneHeld(tracee: Tracee): Tracee {
  // Each call is an injection of its own: only while it lasts would an end of this process be the VMM's.
  const first = injected(tracee, (injection) => injection.clone(CLONE_VM), true)
  try {
    // By a clone of the clone, which loses its parent: it is the VMM's child no more.
    return injected(first, (injection) => injection.clone(CLONE_VM))
  } finally {
    first.kill()
    injected(tracee, reapAll, true)
  }
}

function injected<T>(tracee: Tracee, work: (injection: Injection) => T, held = false): T {
  const injection = Injection.begin(tracee, { held })
  try {
    return work(injection)
  } finally {
    injection.end()
  }
}

/** The dead clone, and those of earlier tracers, where the VMM itself adopts orphans (a PID namespace). */
function reapAll(injection: Injection): void {
  try {
    while (injection.call('wait4', systemCall.wait4, [-1, 0, WNOHANG | __WALL, 0]) > 0);
  } catch (error) {
    if (!wasRefused(error)) throw error
  }
}
