import { readFileSync } from 'node:fs'
import { isVarveError, VarveError } from '../../errors.js'
import { notFound } from '../../not-found.js'
import {
  __WALL,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_EVENT_CLONE,
  PTRACE_EVENT_STOP,
  PTRACE_GET_SYSCALL_INFO,
  PTRACE_GETEVENTMSG,
  PTRACE_GETREGS,
  PTRACE_GETSIGMASK,
  PTRACE_INTERRUPT,
  PTRACE_LISTEN,
  PTRACE_O_EXITKILL,
  PTRACE_O_SUSPEND_SECCOMP,
  PTRACE_O_TRACECLONE,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SETOPTIONS,
  PTRACE_SETREGS,
  PTRACE_SETSIGMASK,
  PTRACE_SINGLESTEP,
  PTRACE_SYSCALL,
  SIGTRAP,
  WNOHANG,
} from '../abi.js'
import { declare, errno, errnoNumber, syscallError } from '../libc.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../proc.js'

const syscallStop = SIGTRAP | 0x80

// Safe: integers only. glibc and musl pass these requests through unchanged (PEEK requests,
// which they change, are not used).
const ptrace = declare<[number, number, number, number]>(
  'long ptrace(long request, int pid, uint64_t address, uint64_t data)',
)
// Safe: each request fills or reads at most what `data` holds: 27 words of registers, one word of signals, or
// `address` bytes of syscall information; the buffer lives for the call.
const ptraceData = declare<[number, number, number, BigUint64Array]>(
  'long ptrace(long request, int pid, uint64_t address, uint64_t *data)',
)
// Safe: `status` is one int and lives for the call.
const waitpid = declare<[number, Int32Array, number]>('int waitpid(int pid, int32_t *status, int options)')

/** struct user_regs_struct of x86_64 (sys/user.h): 64-bit words by their place. */
export const register = {
  r15: 0,
  r14: 1,
  r13: 2,
  r12: 3,
  rbp: 4,
  rbx: 5,
  r9: 8,
  r8: 9,
  rax: 10,
  rdx: 12,
  rsi: 13,
  rdi: 14,
  originalRax: 15,
  rip: 16,
  r10: 7,
  cs: 17,
} as const
const registerWords = 27

/** Why a traced thread stands still. */
export type Stop =
  /** It enters or leaves a system call. */
  | { readonly kind: 'syscall' }
  /** A signal is about to be delivered: it gets it with the next `go`, or never. */
  | { readonly kind: 'signal'; readonly signal: number }
  /** It was interrupted by `interrupt`, or, with another signal than SIGTRAP, stopped as by SIGSTOP. */
  | { readonly kind: 'event'; readonly signal: number }
  /** It has made a process or thread, which is traced too (`Tracee.ofClone`). */
  | { readonly kind: 'clone'; readonly pid: number }
  | { readonly kind: 'ended'; readonly how: string }

type SyscallInfo =
  | { readonly op: 'entry'; readonly number: number; readonly args: readonly bigint[] }
  | { readonly op: 'exit'; readonly result: bigint; readonly isError: boolean }
  | { readonly op: 'none' }

/**
 * The main thread of another process under ptrace(2), x86_64. All calls must come from the OS thread that
 * seized it, and that process must not be its parent: libuv waits for its own children and would swallow the
 * stops. If this process ends while it traces, the kernel kills the traced one (PTRACE_O_EXITKILL).
 */
export class Tracee {
  readonly identity: ProcessIdentity
  readonly #pid: number
  readonly #status = new Int32Array(1)
  #heldOptions = 0
  #note: (ends: boolean) => void = () => {}
  #endsSince: number | undefined
  #endsMs = 0

  private constructor(identity: ProcessIdentity) {
    this.identity = identity
    this.#pid = identity.pid
  }

  /**
   * Begins to trace; the process runs on. Its seccomp filters, if it has any, are suspended until the detach.
   * Errors: HOST_UNSUPPORTED (no right to, or not x86_64), NOT_FOUND (it has ended).
   */
  static seize(identity: ProcessIdentity): Tracee {
    const filtered = assertTraceable(identity)
    return Tracee.#attach(identity, filtered, optionsOf(filtered, false))
  }

  /**
   * Begins to trace, and returns when the process stands still, wherever it was. What it clones is traced
   * too, in the same way. Signals that come before that are delivered. An end of this process does it no harm
   * until `endsWithTracer`; `note` is called before it would, and when it would no more. Errors: as `seize`,
   * MACHINE_EXITED, and HOST_UNSUPPORTED if it does not stand still in time, because it waits in the kernel:
   * this process must end then, which lets it go.
   */
  static hold(
    identity: ProcessIdentity,
    { withinMs = 1000, note = () => {} }: { withinMs?: number; note?: (ends: boolean) => void } = {},
  ): Tracee {
    const filtered = assertTraceable(identity)
    const tracee = Tracee.#attach(identity, filtered, 0)
    tracee.#note = note
    tracee.interrupt()
    tracee.#untilStill(performance.now() + withinMs)
    tracee.#heldOptions = optionsOf(filtered, true)
    try {
      tracee.endsWithTracer(false)
      return tracee
    } catch (error) {
      tracee.detach()
      throw isVarveError(error, 'MACHINE_EXITED') ? error : seizeError(identity, filtered, errnoNumber.EPERM)
    }
  }

  /**
   * Of a held process: whether it and what it clones from now on end with this process, should that be
   * killed.
   */
  endsWithTracer(ends: boolean): void {
    const now = performance.now()
    if (this.#endsSince !== undefined) this.#endsMs += now - this.#endsSince
    this.#endsSince = ends ? now : undefined
    if (ends) this.#note(true)
    this.#request('SETOPTIONS', PTRACE_SETOPTIONS, this.#heldOptions & ~(ends ? 0 : PTRACE_O_EXITKILL))
    if (!ends) this.#note(false)
  }

  /** How long an end of this process would have ended the held one, milliseconds. */
  get endedWithTracerMs(): number {
    return this.#endsMs
  }

  static #attach(identity: ProcessIdentity, filtered: boolean, options: number): Tracee {
    if (ptrace(PTRACE_SEIZE, identity.pid, 0, options) !== 0) throw seizeError(identity, filtered, errno())
    const tracee = new Tracee(identity)
    // Compared after seizing: from here on the pid cannot be reused unnoticed.
    if (isAlive(identity)) return tracee
    tracee.interrupt()
    if (tracee.wait().kind !== 'ended') tracee.detach()
    throw notFound('process', `process ${identity.pid} is another one now`)
  }

  #untilStill(deadline: number): void {
    for (;;) {
      const stop = this.#poll()
      if (stop?.kind === 'event') return
      if (stop?.kind === 'ended')
        throw new VarveError('MACHINE_EXITED', `process ${this.#pid} ended (${stop.how})`)
      if (stop !== undefined) this.go('on', stop.kind === 'signal' ? stop.signal : 0)
      else if (performance.now() > deadline)
        throw new VarveError(
          'HOST_UNSUPPORTED',
          `process ${this.#pid} does not stand still for a tracer: it waits in the kernel`,
          { remedy: 'try again, or use mode stop' },
        )
      else Atomics.wait(nap, 0, 0, 0.1)
    }
  }

  /**
   * The new process of a `clone` stop, which stands before its first instruction. It has the options of the
   * one that made it.
   */
  static ofClone(pid: number): Tracee {
    const identity = processIdentity(pid)
    if (identity === undefined) throw notFound('process', `there is no process ${pid}`)
    const tracee = new Tracee(identity)
    const stop = tracee.wait()
    if (stop.kind === 'event') return tracee
    throw new VarveError('INJECTION_FAILED', `the new process ${pid} stopped by ${JSON.stringify(stop)}`)
  }

  #request(name: string, request: number, data = 0): void {
    if (ptrace(request, this.#pid, 0, data) !== 0) throw this.#error(name, errno())
  }

  #requestData(name: string, request: number, address: number, data: BigUint64Array): void {
    if (ptraceData(request, this.#pid, address, data) < 0) throw this.#error(name, errno())
  }

  #error(name: string, number: number): VarveError {
    const error = syscallError(`ptrace ${name}`, number, `process ${this.#pid}`)
    // It stood still when it was asked: only a SIGKILL ends it then.
    return number === errnoNumber.ESRCH
      ? new VarveError('MACHINE_EXITED', `process ${this.#pid} ended while it was traced`, { cause: error })
      : error
  }

  /** Has a running thread stop soon; `wait` then gives an event. */
  interrupt(): void {
    this.#request('INTERRUPT', PTRACE_INTERRUPT)
  }

  /** Waits, blocking this thread, until the traced one stands still or has ended. */
  wait(): Stop {
    for (;;) {
      const stop = this.#waitpid(__WALL)
      if (stop !== undefined) return stop
    }
  }

  /** As `wait`, but undefined if it runs. */
  #poll(): Stop | undefined {
    return this.#waitpid(__WALL | WNOHANG)
  }

  /** Undefined if there is nothing to tell. */
  #waitpid(options: number): Stop | undefined {
    const found = waitpid(this.#pid, this.#status, options)
    if (found !== this.#pid) {
      const number = found === 0 ? errnoNumber.EINTR : errno()
      if (number === errnoNumber.ECHILD) return { kind: 'ended', how: 'not traced any more' }
      if (number !== errnoNumber.EINTR) throw syscallError('waitpid', number, `process ${this.#pid}`)
      return undefined
    }
    const status = this.#status[0] as number
    if ((status & 0xff) !== 0x7f) {
      const signal = status & 0x7f
      return { kind: 'ended', how: signal === 0 ? `status ${(status >> 8) & 0xff}` : `signal ${signal}` }
    }
    const signal = (status >> 8) & 0xff
    const event = status >> 16
    if (event === PTRACE_EVENT_STOP) return { kind: 'event', signal }
    if (event === PTRACE_EVENT_CLONE) return { kind: 'clone', pid: this.#eventMessage() }
    return signal === syscallStop ? { kind: 'syscall' } : { kind: 'signal', signal }
  }

  #eventMessage(): number {
    const message = new BigUint64Array(1)
    this.#requestData('GETEVENTMSG', PTRACE_GETEVENTMSG, 0, message)
    return Number(message[0])
  }

  /** Runs on: `syscall` to the next entry or exit of a system call, `step` for one instruction. */
  go(how: 'on' | 'syscall' | 'step', signal = 0): void {
    if (how === 'on') this.#request('CONT', PTRACE_CONT, signal)
    else if (how === 'syscall') this.#request('SYSCALL', PTRACE_SYSCALL, signal)
    else this.#request('SINGLESTEP', PTRACE_SINGLESTEP, signal)
  }

  /** Leaves a thread that was stopped (SIGSTOP) as it is, until it is continued or interrupted. */
  listen(): void {
    this.#request('LISTEN', PTRACE_LISTEN)
  }

  /** What the system call of a stop is (Linux 5.3). `none` outside of one. */
  syscallInfo(): SyscallInfo {
    // struct ptrace_syscall_info: op (u8), arch, instruction and stack pointer;
    // from byte 24 on the entry or exit.
    const info = new BigUint64Array(11)
    this.#requestData('GET_SYSCALL_INFO', PTRACE_GET_SYSCALL_INFO, info.byteLength, info)
    const op = Number((info[0] as bigint) & 0xffn)
    if (op === 1) return { op: 'entry', number: Number(info[3]), args: [...info.subarray(4, 10)] }
    if (op === 2)
      return {
        op: 'exit',
        result: BigInt.asIntN(64, info[3] as bigint),
        isError: ((info[4] as bigint) & 0xffn) !== 0n,
      }
    return { op: 'none' }
  }

  registers(): BigUint64Array {
    const registers = new BigUint64Array(registerWords)
    this.#requestData('GETREGS', PTRACE_GETREGS, 0, registers)
    return registers
  }

  setRegisters(registers: BigUint64Array): void {
    if (registers.length !== registerWords)
      throw new VarveError('INVALID_ARGUMENT', `${registers.length} registers are not ${registerWords}`)
    this.#requestData('SETREGS', PTRACE_SETREGS, 0, registers)
  }

  /** The signals that the thread does not take at present, bit n-1 for signal n. */
  signalMask(): bigint {
    const mask = new BigUint64Array(1)
    this.#requestData('GETSIGMASK', PTRACE_GETSIGMASK, 8, mask)
    return mask[0] as bigint
  }

  setSignalMask(mask: bigint): void {
    this.#requestData('SETSIGMASK', PTRACE_SETSIGMASK, 8, BigUint64Array.of(mask))
  }

  /** Ends the process, and waits until it has ended. */
  kill(): void {
    // Its pid is not given to another one before this process has waited for it.
    process.kill(this.#pid, 'SIGKILL')
    while (this.wait().kind !== 'ended');
  }

  /** Ends the tracing of a thread that stands still, which runs on. */
  detach(): void {
    this.#request('DETACH', PTRACE_DETACH)
  }
}

/** To sleep without an event loop. */
const nap = new Int32Array(new SharedArrayBuffer(4))

const optionsOf = (filtered: boolean, clones: boolean): number =>
  PTRACE_O_TRACESYSGOOD |
  PTRACE_O_EXITKILL |
  (filtered ? PTRACE_O_SUSPEND_SECCOMP : 0) |
  (clones ? PTRACE_O_TRACECLONE : 0)

/** Gives whether it has seccomp filters. */
function assertTraceable(identity: ProcessIdentity): boolean {
  if (process.arch !== 'x64')
    throw new VarveError('HOST_UNSUPPORTED', `a VMM can be traced on x86_64 only, not ${process.arch}`, {
      remedy: 'use another engine, or mode stop',
    })
  if (!isAlive(identity)) throw notFound('process', `there is no process ${identity.pid}`)
  return hasSeccompFilters(identity.pid)
}

function hasSeccompFilters(pid: number): boolean {
  return /^Seccomp:\s*[12]$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

function seizeError({ pid }: ProcessIdentity, filtered: boolean, number: number): VarveError {
  if (number === errnoNumber.ESRCH) return notFound('process', `there is no process ${pid}`)
  const rights = filtered ? 'CAP_SYS_PTRACE, and CAP_SYS_ADMIN as it has seccomp filters' : 'CAP_SYS_PTRACE'
  return new VarveError(
    'HOST_UNSUPPORTED',
    `process ${pid} cannot be traced: ${number === errnoNumber.EPERM ? 'not permitted' : `errno ${number}`}`,
    {
      remedy: `be root or have ${rights}; make sure that no other process traces it; or use another engine`,
      cause: syscallError('ptrace SEIZE', number, `process ${pid}`),
    },
  )
}
