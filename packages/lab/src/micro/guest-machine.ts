import type { Assembler } from './assembler.js'
import { microMaxAddressBytes } from './memory-map.js'

const serialInterruptEnable = 0x3f9
/** Firecracker's GDT has its 64-bit code segment at index 1. */
const codeSelector = 0x08
/** Interrupt vectors 0x20–0x27 are the first interrupt controller's lines; the serial port is line 4. */
const firstVector = 0x20
const serialLineMask = 0xef

/** What is done once at boot: learn the memory, map it, let the serial port end a halt. */
export function emitMachine(asm: Assembler): void {
  emitMemoryMap(asm)
  emitInterrupts(asm)
}

function emitMemoryMap(asm: Assembler): void {
  // Boot parameters (Linux x86 boot protocol): entry count at 0x1e8, 20-byte entries from 0x2d0: address,
  // size, type. rbx = end below 4 GiB, rbp = bytes from 4 GiB on. Usable memory is type 1.
  asm.label('readMemoryMap')
  asm.loadByte('rcx', 'rsi', 0x1e8)
  asm.arithmetic('add', 'rsi', 0x2d0)
  asm.arithmetic('xor', 'rbx', 'rbx')
  asm.arithmetic('xor', 'rbp', 'rbp')
  asm.label('mapEntry')
  asm.test('rcx', 'rcx')
  asm.jumpIf('z', 'mapRead')
  asm.loadHalf('rax', 'rsi', 16)
  asm.arithmetic('cmp', 'rax', 1)
  asm.jumpIf('nz', 'mapNext')
  asm.load('rdx', 'rsi', 8)
  asm.load('rax', 'rsi')
  asm.mov('rdi', 'rax')
  asm.shift('shr', 'rdi', 32)
  asm.jumpIf('nz', 'mapHigh')
  asm.mov('rbx', 'rax')
  asm.arithmetic('add', 'rbx', 'rdx')
  asm.jump('mapNext')
  asm.label('mapHigh')
  asm.arithmetic('add', 'rbp', 'rdx')
  asm.label('mapNext')
  asm.arithmetic('add', 'rsi', 20)
  asm.arithmetic('sub', 'rcx', 1)
  asm.jump('mapEntry')
  asm.label('mapRead')
  // The table area bounds what can be mapped, hence what commands may name.
  asm.set('rax', microMaxAddressBytes - 2 ** 32)
  asm.arithmetic('cmp', 'rbp', 'rax')
  asm.jumpIf('be', 'mapFits')
  asm.mov('rbp', 'rax')
  asm.label('mapFits')
  asm.mov('rax', 'rbx')
  asm.shift('shr', 'rax', 12)
  asm.storeLabel('split', 'rax')
  asm.set('rdx', 2 ** 20)
  asm.arithmetic('sub', 'rdx', 'rax')
  asm.mov('rcx', 'rbp')
  asm.shift('shr', 'rcx', 12)
  asm.jumpIf('nz', 'mapHasHigh')
  asm.arithmetic('xor', 'rdx', 'rdx')
  asm.label('mapHasHigh')
  asm.storeLabel('gap', 'rdx')
  asm.arithmetic('add', 'rax', 'rcx')
  asm.storeLabel('pages', 'rax')
  asm.arithmetic('add', 'rax', 'rdx')
  asm.op('ret')

  // rax = pages up to the highest address: all of them one to one, by 2 MiB pages. Entries are
  // marked accessed and dirty from the start: the processor has nothing to note in a table when
  // a command first touches a page.
  asm.label('mapMemory')
  const table = 0x23
  const largePage = 0xe3
  asm.mov('rcx', 'rax')
  asm.arithmetic('add', 'rcx', 2 ** 18 - 1)
  asm.shift('shr', 'rcx', 18)
  asm.setLabel('rdi', 'rootTable')
  asm.setLabel('rdx', 'secondTable')
  asm.arithmetic('or', 'rdx', table)
  asm.store('rdi', 'rdx')
  asm.setLabel('rdi', 'secondTable')
  asm.setLabel('rdx', 'thirdTables')
  asm.arithmetic('or', 'rdx', table)
  asm.label('mapGib')
  asm.store('rdi', 'rdx')
  asm.arithmetic('add', 'rdi', 8)
  asm.arithmetic('add', 'rdx', 4096)
  asm.arithmetic('sub', 'rcx', 1)
  asm.jumpIf('nz', 'mapGib')
  asm.setLabel('rdi', 'thirdTables')
  asm.arithmetic('add', 'rax', 2 ** 9 - 1)
  asm.shift('shr', 'rax', 9)
  asm.set('rdx', largePage)
  asm.label('mapLarge')
  asm.store('rdi', 'rdx')
  asm.arithmetic('add', 'rdi', 8)
  asm.arithmetic('add', 'rdx', 2 ** 21)
  asm.arithmetic('sub', 'rax', 1)
  asm.jumpIf('nz', 'mapLarge')
  asm.setLabel('rax', 'rootTable')
  asm.setPageTables('rax')
  asm.op('ret')
}

/** The serial line's interrupt exists to end a halt; its handler only acknowledges it. */
function emitInterrupts(asm: Assembler): void {
  asm.label('startInterrupts')
  for (const [port, value] of [
    // Both controllers: initialise, first vector, wiring, 8086 mode; then masks: line 4 alone may pass.
    [0x20, 0x11],
    [0x21, firstVector],
    [0x21, 0x04],
    [0x21, 0x01],
    [0xa0, 0x11],
    [0xa1, firstVector + 8],
    [0xa1, 0x02],
    [0xa1, 0x01],
    [0x21, serialLineMask],
    [0xa1, 0xff],
  ] as const) {
    asm.set('rax', value)
    asm.outTo(port)
  }
  asm.loadInterruptTable('interruptTableLimit')
  // Bit 0: interrupt when data was received. Firecracker sets it again itself after a load.
  asm.set('rdx', serialInterruptEnable)
  asm.set('rax', 1)
  asm.op('outByte', 'ret')

  asm.label('interrupt')
  asm.push('rax')
  asm.set('rax', 0x20)
  asm.outTo(0x20)
  asm.pop('rax')
  asm.op('iretq')

  const handler = asm.addressOf('interrupt')
  asm.padTo(Math.ceil(asm.here / 16) * 16)
  const table = asm.here
  const gates = firstVector + 8
  asm.padTo(table + 16 * firstVector)
  for (let i = 0; i < 8; i++) asm.bytes(...interruptGate(handler))
  asm.label('interruptTableLimit')
  asm.bytes(...littleEndian(16 * gates - 1, 2), ...littleEndian(table, 8))
}

/** 64-bit interrupt gate: present, ring 0, no separate stack (Intel SDM volume 3, figure 7-8). */
function interruptGate(handler: number): number[] {
  return [
    ...littleEndian(handler & 0xffff, 2),
    ...littleEndian(codeSelector, 2),
    0x00,
    0x8e,
    ...littleEndian(Math.floor(handler / 2 ** 16), 6),
    ...littleEndian(0, 4),
  ]
}

function littleEndian(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, index) => Math.floor(value / 2 ** (8 * index)) % 256)
}
