import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import {
  FUTEX_WAKE_PRIVATE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  pageBytes,
  SIGBUS,
  SIGILL,
  SIGSEGV,
  SIGSTOP,
  SIGTRAP,
} from '../abi.js'
import { errnoName } from '../libc.js'
import { findUnmapSelf } from '../unmap-self.js'
import { findSyscall, syscallInstruction } from './find-syscall.js'
import { besideCode, cloned, loopCode, threadFlags, wordBytes } from './injected-code.js'
import { register, type Stop, Tracee } from './ptrace.js'
import { entryBytes, type SyscallTable } from './syscall-table.js'
import { systemCall } from './system-call.js'

/**
 * Entries a round: a table of 448 KiB. A round trip (some 100 µs) is 2 % of the
 * time that so many mappings take.
 */
const roundEntries = 8192
/** Next to the table, for arguments in memory. */
const notesBytes = pageBytes
const scratchBytesOf = (entries: number) => pageBytes + notesBytes + entries * entryBytes

/**
 * All signals that can be held back, but for those that an instruction raises: the
 * kernel kills if they are held.
 */
const heldSignals =
  ((1n << 64n) - 1n) &
  ~[SIGSEGV, SIGTRAP, SIGBUS, SIGILL].reduce((bits, it) => bits | (1n << BigInt(it - 1)), 0n)

/**
 * With these the kernel restarts a call that was interrupted: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND
 * (include/linux/errno.h). Here it does not, as `originalRax` is −1.
 */
const restartCodes = new Set([512, 513, 514])
/** Each try lets what is pending happen: more than some are never needed, except in a storm of signals. */
const mostRestarts = 1000

interface InjectionOptions {
  /**
   * In a thread that stands anywhere (`Tracee.hold`), also in code of its own. It ends with this process
   * until `end`.
   */
  readonly held?: boolean
  /** Of a table, in one round. */
  readonly entries?: number
}

/** The id of a thread of the process; or why there is none, as a text that follows "the process". */
type ThreadBeside =
  | { readonly thread: number; readonly refused: null }
  | { readonly thread: null; readonly refused: string }

/**
 * Has a traced thread, which stands at the exit of a system call, make system calls of ours: first a few one
 * by one, then whole tables by a loop in scratch memory of its own. `end` puts everything back and looks that
 * it is. A caller that got an error here must kill the process: it may be half changed.
 */
export class Injection {
  readonly #tracee: Tracee
  readonly #held: boolean
  readonly #roundEntries: number
  readonly #memory: number
  readonly #saved: BigUint64Array
  readonly #savedMask: bigint
  /** Address of a `syscall` instruction. */
  #instruction: bigint
  #mapped: number | undefined
  #cloned: number | undefined

  private constructor(tracee: Tracee, { held = false, entries = roundEntries }: InjectionOptions) {
    this.#tracee = tracee
    this.#held = held
    this.#roundEntries = entries
    this.#saved = tracee.registers()
    this.#savedMask = tracee.signalMask()
    this.#instruction = (this.#saved[register.rip] as bigint) - 2n
    this.#memory = openSync(`/proc/${tracee.identity.pid}/mem`, 'r+')
  }

  static begin(tracee: Tracee, options: InjectionOptions = {}): Injection {
    const injection = new Injection(tracee, options)
    try {
      injection.#begin()
      return injection
    } catch (error) {
      closeSync(injection.#memory)
      throw error
    }
  }

  #begin(): void {
    // 0x33: 64-bit user code (arch/x86/include/asm/segment.h). A 32-bit one has other numbers for everything.
    const cs = this.#saved[register.cs]
    const isCall = (address: bigint) => this.read(Number(address), 2).equals(syscallInstruction)
    // The thread computes: a call from elsewhere changes no more than the registers, which come back.
    if (this.#held && cs === 0x33n && !isCall(this.#instruction))
      this.#instruction = BigInt(findSyscall(this.#tracee.identity.pid, this.#memory) ?? this.#instruction)
    const code = this.read(Number(this.#instruction), 2).toString('hex')
    if (cs !== 0x33n || code !== '0f05')
      throw unknownState(`code segment 0x${cs?.toString(16)}, bytes ${code} where a system call should be`)
    if (this.#held) this.#tracee.endsWithTracer(true)
    this.#tracee.setSignalMask(this.#savedMask | heldSignals)
  }

  /** Mapped when it is first needed: single calls need none. */
  get #scratch(): number {
    this.#mapped ??= this.#mapCode(scratchBytesOf(this.#roundEntries), loopCode)
    return this.#mapped
  }

  /**
   * Memory for a page of code and what it works on. Never writable and executable at
   * once: hardened kernels refuse that.
   */
  #mapCode(bytes: number, instructions: Buffer): number {
    const memory = this.mapMemory(bytes)
    this.write(memory, instructions)
    this.call('mprotect', systemCall.mprotect, [memory, pageBytes, PROT_READ | PROT_EXEC])
    return memory
  }

  /** Memory of the process, readable and writable, for results of calls. `munmap` gives it back. */
  mapMemory(bytes: number): number {
    return this.call('mmap', systemCall.mmap, [
      0,
      bytes,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS,
      -1,
      0,
    ])
  }

  /** Memory of the process where arguments can be put, 4 KiB of it. */
  get notes(): number {
    return this.#scratch + pageBytes
  }

  read(address: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    if (readSync(this.#memory, bytes, 0, length, address) !== length)
      throw unknownState(`${length} bytes at 0x${address.toString(16)} cannot be read`)
    return bytes
  }

  write(address: number, bytes: Uint8Array): void {
    if (writeSync(this.#memory, bytes, 0, bytes.length, address) !== bytes.length)
      throw unknownState(`${bytes.length} bytes at 0x${address.toString(16)} cannot be written`)
  }

  /** One system call, some 75 µs. A failed one is INJECTION_FAILED; `name` is for the message. */
  call(name: string, number: number, args: readonly number[]): number {
    for (let tries = 1; ; tries++) {
      const result = this.#callOnce(name, number, args)
      if (result >= 0 || result <= -4096) return result
      // clone(2) does so while a signal or a stop is pending. It has done nothing then.
      if (restartCodes.has(-result) && tries < mostRestarts) continue
      throw new VarveError(
        'INJECTION_FAILED',
        `${name} in process ${this.#tracee.identity.pid} failed with ${errnoName(-result)}`,
        { details: { call: name, errno: errnoName(-result) } },
      )
    }
  }

  #callOnce(name: string, number: number, args: readonly number[]): number {
    const registers = this.#saved.slice()
    const { rax, rdi, rsi, rdx, r10, r8, r9, rip, originalRax } = register
    const set = (index: number, value: number) => {
      registers[index] = BigInt.asUintN(64, BigInt(value))
    }
    set(rax, number)
    for (const [i, index] of [rdi, rsi, rdx, r10, r8, r9].entries()) set(index, args[i] ?? 0)
    registers[rip] = this.#instruction
    // No system call is going on, so the kernel has none to restart.
    set(originalRax, -1)
    this.#tracee.setRegisters(registers)
    this.#tracee.go('step')
    this.#untilTrap('step')
    const after = this.#tracee.registers()
    if (after[rip] !== this.#instruction + 2n)
      throw unknownState(`${name} stopped at 0x${after[rip]?.toString(16)}`)
    return Number(BigInt.asIntN(64, after[rax] as bigint))
  }

  /**
   * Has the process clone itself, without a signal at the end of the new one (clone(2)). Only if it is traced
   * with `clones`. The new process stands still, and its memory can be worked on by an `Injection` of its
   * own.
   */
  clone(flags: number): Tracee {
    this.#cloned = undefined
    this.call('clone', systemCall.clone, [flags])
    if (this.#cloned === undefined) throw unknownState('a clone that is not traced')
    return Tracee.ofClone(this.#cloned)
  }

  /** Makes all calls of a table in its order, whatever they return: the results are in the table then. */
  run(table: SyscallTable): void {
    const { rbx, rbp, rip, originalRax } = register
    const start = this.notes + notesBytes
    for (let from = 0; from < table.length; from += this.#roundEntries) {
      const entries = table.bytes(from, Math.min(table.length, from + this.#roundEntries))
      this.write(start, entries)
      const registers = this.#saved.slice()
      registers[rbx] = BigInt(start)
      registers[rbp] = BigInt(start + entries.length)
      registers[rip] = BigInt(this.#scratch)
      registers[originalRax] = BigInt.asUintN(64, -1n)
      this.#tracee.setRegisters(registers)
      this.#tracee.go('on')
      this.#untilTrap('on')
      const end = this.#tracee.registers()
      if (end[rip] !== BigInt(this.#scratch + loopCode.length) || end[rbx] !== registers[rbp])
        throw unknownState(`the loop stopped at 0x${end[rip]?.toString(16)}`)
      if (readSync(this.#memory, entries, 0, entries.length, start) !== entries.length)
        throw unknownState('the results cannot be read')
    }
  }

  /**
   * Starts a thread of the process that makes all calls of a table and is gone then, with its memory; what
   * they return is lost. The thread takes no signals and is not traced: it goes on after `end`. If the
   * process cannot have such a thread, nothing was done.
   */
  runBeside(table: SyscallTable): ThreadBeside {
    const leave = findUnmapSelf(this.#tracee.identity.pid, this.#memory)
    if (leave === undefined) return { thread: null, refused: 'is not linked with musl' }
    const entries = table.bytes(0, table.length)
    const bytes = pageBytes + Math.ceil((wordBytes + entries.length) / pageBytes) * pageBytes
    const memory = this.#mapCode(bytes, besideCode)
    const word = memory + pageBytes
    const start = word + wordBytes
    this.write(start, entries)
    const registers = this.#saved.slice()
    const { rax, rdi, rsi, rdx, r10, r8, rbx, rbp, r12, r13, r14, r15, rip, originalRax } = register
    const values = {
      [rax]: systemCall.clone,
      [rdi]: threadFlags,
      // Never used: nothing is pushed, and no signal is taken.
      [rsi]: memory + bytes,
      [rdx]: 0,
      [r10]: 0,
      [r8]: 0,
      [rbx]: start,
      [rbp]: start + entries.length,
      [r12]: memory,
      [r13]: bytes,
      [r14]: leave,
      [r15]: word,
      [rip]: memory,
      [originalRax]: -1,
    }
    for (const [index, value] of Object.entries(values))
      registers[Number(index)] = BigInt.asUintN(64, BigInt(value))
    this.#tracee.setRegisters(registers)
    this.#tracee.go('on')
    this.#untilTrap('on')
    const end = this.#tracee.registers()
    if (end[rip] !== BigInt(memory + cloned.length))
      throw unknownState(`the clone stopped at 0x${end[rip]?.toString(16)}`)
    const thread = Number(BigInt.asIntN(64, end[rax] as bigint))
    if (thread > 0) {
      // This thread is stopped, and its next instruction lies outside: the call that wakes the new one. If
      // that call is not reached, the caller or the kernel (PTRACE_O_EXITKILL) kills the process, so no
      // thread waits for ever.
      this.write(word, Buffer.of(1, 0, 0, 0))
      this.call('futex', systemCall.futex, [word, FUTEX_WAKE_PRIVATE, 1])
      return { thread, refused: null }
    }
    this.call('munmap', systemCall.munmap, [memory, bytes])
    return { thread: null, refused: `cannot have another thread (${errnoName(-thread)})` }
  }

  /**
   * Waits for the trap that our own code raises. Anything else means that the
   * thread does not do what it was told.
   */
  #untilTrap(how: 'on' | 'step'): void {
    for (;;) {
      const stop: Stop = this.#tracee.wait()
      if (stop.kind === 'signal' && stop.signal === SIGTRAP) return
      if (stop.kind === 'ended')
        throw new VarveError('MACHINE_EXITED', `process ${this.#tracee.identity.pid} ended (${stop.how})`)
      if (stop.kind === 'clone') {
        this.#cloned = stop.pid
        this.#tracee.go(how)
        continue
      }
      // SIGSTOP cannot be held back. It is taken, the thread goes on, and the stop takes effect after the
      // detach.
      if (stop.kind === 'signal' && stop.signal === SIGSTOP) this.#tracee.go(how, SIGSTOP)
      else if (stop.kind === 'event') this.#tracee.go(how)
      else throw unknownState(`stop by ${JSON.stringify(stop)}`)
    }
  }

  /**
   * A thread that was made to step still has the trap flag if its tracer dies, and its next instruction would
   * end it by SIGTRAP. So it goes on without that flag, to a stop within the kernel: it executes nothing.
   */
  #leaveTrap(): void {
    this.#tracee.interrupt()
    this.#tracee.go('on')
    for (;;) {
      const stop = this.#tracee.wait()
      if (stop.kind === 'event') return
      if (stop.kind === 'ended')
        throw new VarveError('MACHINE_EXITED', `process ${this.#tracee.identity.pid} ended (${stop.how})`)
      // All others are held back.
      if (stop.kind !== 'signal' || stop.signal !== SIGSTOP)
        throw unknownState(`stop by ${JSON.stringify(stop)}`)
      this.#tracee.go('on', SIGSTOP)
    }
  }

  /** Gives the scratch memory back and the registers and signals as they were; the thread still stands. */
  end(): void {
    try {
      if (this.#mapped !== undefined)
        this.call('munmap', systemCall.munmap, [this.#mapped, scratchBytesOf(this.#roundEntries)])
      this.#tracee.setRegisters(this.#saved)
      if (this.#held) this.#leaveTrap()
      this.#tracee.setSignalMask(this.#savedMask)
      const now = this.#tracee.registers()
      if (
        now.some((value, index) => value !== this.#saved[index]) ||
        this.#tracee.signalMask() !== this.#savedMask
      )
        throw unknownState('registers or signals did not come back')
      if (this.#held) this.#tracee.endsWithTracer(false)
    } finally {
      closeSync(this.#memory)
    }
  }
}

function unknownState(detail: string): VarveError {
  return new VarveError('INJECTION_FAILED', `the thread is in no state that is known: ${detail}`)
}
