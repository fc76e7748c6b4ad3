import { VarveError } from 'varve'
import {
  type Arithmetic,
  arithmetic,
  type Condition,
  conditions,
  type PlainInstruction,
  plain,
  type Register,
  registers,
  type Shift,
  shifts,
} from './instruction-set.js'

/** The 64-bit word at a label. */
export interface WordAt {
  readonly at: string
}

interface Fixup {
  readonly at: number
  readonly label: string
  /** `relative` counts from the end of the four bytes; `absolute` is the address itself. */
  readonly kind: 'relative' | 'absolute'
}

/**
 * A small x86-64 assembler: only what the micro guest needs, each encoding checked by a test. Labels are
 * addresses below 2 GiB, so that four bytes hold one, sign-extended or not. `assemble` resolves them and may
 * be called once all are defined.
 */
export class Assembler {
  readonly #origin: number
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #fixups: Fixup[] = []

  constructor(origin: number) {
    this.#origin = origin
  }

  /** Address of the next byte. */
  get here(): number {
    return this.#origin + this.#bytes.length
  }

  label(name: string): void {
    this.define(name, this.here)
  }

  /** Gives a name to an address outside of the emitted bytes. */
  define(name: string, address: number): void {
    if (this.#labels.has(name))
      throw new VarveError('INVALID_ARGUMENT', `assembler label ${name} is defined twice`)
    this.#labels.set(name, address)
  }

  bytes(...values: readonly number[]): void {
    this.#bytes.push(...values)
  }

  /** A 64-bit word as data. */
  word(value: number | bigint): void {
    this.#little(BigInt.asUintN(64, BigInt(value)), 8)
  }

  /** Bytes of an ASCII text and a closing zero. */
  text(value: string): void {
    this.bytes(...Buffer.from(value, 'latin1'), 0)
  }

  /** Zero bytes up to `address`. */
  padTo(address: number): void {
    if (address < this.here)
      throw new VarveError('INVALID_ARGUMENT', `assembler is at ${this.here}, past ${address}`)
    while (this.here < address) this.#bytes.push(0)
  }

  /** One or more instructions without operands. */
  op(...names: readonly PlainInstruction[]): void {
    for (const name of names) this.bytes(...plain[name])
  }

  /** `mov reg, value`: five bytes below 2^32 (the upper half becomes zero), ten above. */
  set(target: Register, value: number | bigint): void {
    const wide = BigInt(value)
    const code = number(target)
    const short = wide >= 0n && wide < 1n << 32n
    if (short && code < 8) this.bytes(0xb8 + code)
    else if (short) this.bytes(0x41, 0xb0 + code)
    else this.bytes(0x48 | (code >> 3), 0xb8 + (code & 7))
    this.#little(wide, short ? 4 : 8)
  }

  /** `mov reg, address of label` */
  setLabel(target: Register, label: string): void {
    const code = number(target)
    if (code >= 8) this.bytes(0x41)
    this.bytes(0xb8 + (code & 7))
    this.#reference(label, 'absolute')
  }

  mov(target: Register, source: Register): void {
    this.#registers([0x89], source, target)
  }

  /** `op target, source`; the source is a register, a word in memory or a signed 32-bit number. */
  arithmetic(op: Arithmetic, target: Register, source: Register | WordAt | number): void {
    const { opcode, digit } = arithmetic[op]
    if (typeof source === 'object') {
      // `op r64, r/m64` is the opcode two higher.
      this.#absolute([opcode + 2], target, source.at)
    } else if (typeof source === 'string') {
      this.#registers([opcode], source, target)
    } else {
      if (!Number.isInteger(source) || source < -(2 ** 31) || source >= 2 ** 31)
        throw new VarveError('INVALID_ARGUMENT', `${op} ${target}, ${source}: not a signed 32-bit number`)
      this.#extended(0x81, digit, target)
      this.#little(BigInt(source), 4)
    }
  }

  test(left: Register, right: Register): void {
    this.#registers([0x85], right, left)
  }

  shift(op: Shift, target: Register, count: number | 'cl'): void {
    this.#extended(count === 'cl' ? 0xd3 : 0xc1, shifts[op], target)
    if (count !== 'cl') this.bytes(count)
  }

  /** `imul target, source`, the low 64 bits. */
  imul(target: Register, source: Register | WordAt): void {
    if (typeof source === 'object') this.#absolute([0x0f, 0xaf], target, source.at)
    else this.#registers([0x0f, 0xaf], target, source)
  }

  /** `div source`: rdx:rax by it, quotient in rax, remainder in rdx. */
  div(source: Register): void {
    this.#extended(0xf7, 6, source)
  }

  /** Number of the highest set bit of `source`; undefined for zero. */
  bitScanReverse(target: Register, source: Register): void {
    this.#registers([0x0f, 0xbd], target, source)
  }

  /** `mov target, [base + offset]` */
  load(target: Register, base: Register, offset = 0): void {
    this.#memory([0x8b], target, base, offset)
  }

  /** `mov [base + offset], source` */
  store(base: Register, source: Register, offset = 0): void {
    this.#memory([0x89], source, base, offset)
  }

  /** `movzx target, byte [base + offset]` */
  loadByte(target: Register, base: Register, offset = 0): void {
    this.#memory([0x0f, 0xb6], target, base, offset)
  }

  /** `mov target, dword [base + offset]`, upper half zero. */
  loadHalf(target: Register, base: Register, offset = 0): void {
    this.#memory([0x8b], target, base, offset, 0x40)
  }

  /** `mov byte [base + offset], low byte of source` */
  storeByte(base: Register, source: Register, offset = 0): void {
    // With a REX prefix, if an empty one, registers 4 to 7 mean spl to dil, not ah to bh.
    this.#memory([0x88], source, base, offset, 0x40)
  }

  /** `mov target, [label]` */
  loadLabel(target: Register, label: string): void {
    this.#absolute([0x8b], target, label)
  }

  /** `mov [label], source` */
  storeLabel(label: string, source: Register): void {
    this.#absolute([0x89], source, label)
  }

  push(...names: readonly Register[]): void {
    for (const name of names) this.#short(0x50, name)
  }

  /** Pops in the order given. */
  pop(...names: readonly Register[]): void {
    for (const name of names) this.#short(0x58, name)
  }

  call(label: string): void {
    this.bytes(0xe8)
    this.#reference(label, 'relative')
  }

  jump(label: string): void {
    this.bytes(0xe9)
    this.#reference(label, 'relative')
  }

  jumpIf(condition: Condition, label: string): void {
    this.bytes(0x0f, conditions[condition])
    this.#reference(label, 'relative')
  }

  /** `out port, al` */
  outTo(port: number): void {
    this.bytes(0xe6, port)
  }

  /** `lidt [label]`: ten bytes, limit and address. */
  loadInterruptTable(label: string): void {
    this.bytes(0x0f, 0x01, 0x1c, 0x25)
    this.#reference(label, 'absolute')
  }

  /** `mov cr3, source`, for rax…rdi. */
  setPageTables(source: Register): void {
    this.bytes(0x0f, 0x22, 0xd8 | (number(source) & 7))
  }

  /** The bytes from the origin on, all labels resolved. */
  assemble(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes)
    const view = new DataView(bytes.buffer)
    for (const { at, label, kind } of this.#fixups) {
      const address = this.addressOf(label)
      view.setInt32(at, kind === 'absolute' ? address : address - (this.#origin + at + 4), true)
    }
    return bytes
  }

  addressOf(label: string): number {
    const address = this.#labels.get(label)
    if (address === undefined)
      throw new VarveError('INVALID_ARGUMENT', `assembler label ${label} is not defined`)
    return address
  }

  #reference(label: string, kind: Fixup['kind']): void {
    this.#fixups.push({ at: this.#bytes.length, label, kind })
    this.bytes(0, 0, 0, 0)
  }

  #little(value: bigint, size: number): void {
    for (let i = 0; i < size; i++) this.#bytes.push(Number((value >> BigInt(8 * i)) & 0xffn))
  }

  /** REX.W, opcode, ModRM with two registers. */
  #registers(opcode: readonly number[], reg: Register, rm: Register): void {
    const [r, m] = [number(reg), number(rm)]
    this.bytes(0x48 | ((r >> 3) << 2) | (m >> 3), ...opcode, 0xc0 | ((r & 7) << 3) | (m & 7))
  }

  /** REX.W, opcode, ModRM with an opcode digit and one register. */
  #extended(opcode: number, digit: number, rm: Register): void {
    const m = number(rm)
    this.bytes(0x48 | (m >> 3), opcode, 0xc0 | (digit << 3) | (m & 7))
  }

  /** `[base + disp32]` and a register; rsp and r12 as a base need a SIB byte. */
  #memory(opcode: readonly number[], reg: Register, base: Register, offset: number, rex = 0x48): void {
    this.bytes(rex | ((number(reg) >> 3) << 2) | (number(base) >> 3), ...opcode)
    const low = number(base) & 7
    this.bytes(0x80 | ((number(reg) & 7) << 3) | low, ...(low === 4 ? [0x24] : []))
    this.#little(BigInt(offset), 4)
  }

  /** `[disp32]` without a base, which 64-bit mode spells as SIB 0x25. */
  #absolute(opcode: readonly number[], reg: Register, label: string): void {
    const r = number(reg)
    this.bytes(0x48 | ((r >> 3) << 2), ...opcode, ((r & 7) << 3) | 4, 0x25)
    this.#reference(label, 'absolute')
  }

  #short(opcode: number, name: Register): void {
    const code = number(name)
    if (code >= 8) this.bytes(0x41)
    this.bytes(opcode + (code & 7))
  }
}

const number = (name: Register): number => registers.indexOf(name)
