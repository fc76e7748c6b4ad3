// What the assembler can encode, as tables of the Intel SDM, volume 2.

/** The sixteen general registers, always used at their full 64 bits. */
export const registers = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const
export type Register = (typeof registers)[number]

/** `op r/m64, r64` opcode and the `/digit` of its `81 /digit imm32` form (Intel SDM volume 2). */
export const arithmetic = {
  add: { opcode: 0x01, digit: 0 },
  or: { opcode: 0x09, digit: 1 },
  and: { opcode: 0x21, digit: 4 },
  sub: { opcode: 0x29, digit: 5 },
  xor: { opcode: 0x31, digit: 6 },
  cmp: { opcode: 0x39, digit: 7 },
} as const
export type Arithmetic = keyof typeof arithmetic

/** `/digit` of the shift group `C1 /digit imm8` and `D3 /digit`. */
export const shifts = { rol: 0, shl: 4, shr: 5 } as const
export type Shift = keyof typeof shifts

/** Second byte of `0F 8x rel32`. `b` and `ae` are unsigned below and not below. */
export const conditions = { b: 0x82, ae: 0x83, z: 0x84, nz: 0x85, be: 0x86, a: 0x87 } as const
export type Condition = keyof typeof conditions

/** Instructions without operands. All are in the subset that KVM's instruction emulator knows. */
export const plain = {
  cld: [0xfc],
  cli: [0xfa],
  sti: [0xfb],
  hlt: [0xf4],
  pause: [0xf3, 0x90],
  ret: [0xc3],
  iretq: [0x48, 0xcf],
  /** `in al, dx` */
  inByte: [0xec],
  /** `out dx, al` */
  outByte: [0xee],
  /** `rep stosq`: rax into rcx words from rdi on. */
  repStosq: [0xf3, 0x48, 0xab],
  /** `repe scasq`: compares rax with up to rcx words from rdi on; zero flag clear on a difference. */
  repeScasq: [0xf3, 0x48, 0xaf],
  /** `lodsq`: the word at rsi into rax, rsi + 8. */
  lodsq: [0x48, 0xad],
} as const satisfies Record<string, readonly number[]>
export type PlainInstruction = keyof typeof plain
