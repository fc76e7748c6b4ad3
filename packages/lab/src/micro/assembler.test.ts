import { describe, expect, test } from 'vitest'
import { Assembler } from './assembler.js'

const origin = 0x10_0000

/** Code bytes as hexadecimal text, `there` being a label at 0x123456. */
function assembled(emit: (asm: Assembler) => void): string {
  const asm = new Assembler(origin)
  asm.define('there', 0x12_3456)
  emit(asm)
  return Buffer.from(asm.assemble()).toString('hex')
}

/**
 * Every form once or more, low and high registers; bytes from GNU as 2.40 (`objdump -d` shows the same text).
 */
const forms: readonly (readonly [string, (asm: Assembler) => void, string])[] = [
  ['mov eax, 0x12345678', (asm) => asm.set('rax', 0x12345678), 'b878563412'],
  ['mov r9d, 5', (asm) => asm.set('r9', 5), '41b905000000'],
  ['movabs rdx, 0x123456789abcdef0', (asm) => asm.set('rdx', 0x123456789abcdef0n), '48baf0debc9a78563412'],
  ['movabs r15, 0xfffffffffffffff0', (asm) => asm.set('r15', -16), '49bff0ffffffffffffff'],
  ['mov edi, 0x123456', (asm) => asm.setLabel('rdi', 'there'), 'bf56341200'],
  ['mov r8d, 0x123456', (asm) => asm.setLabel('r8', 'there'), '41b856341200'],
  ['mov rax, r14', (asm) => asm.mov('rax', 'r14'), '4c89f0'],
  ['mov r13, rsp', (asm) => asm.mov('r13', 'rsp'), '4989e5'],
  ['add rbx, r12', (asm) => asm.arithmetic('add', 'rbx', 'r12'), '4c01e3'],
  ['add r10, 0x12345', (asm) => asm.arithmetic('add', 'r10', 0x12345), '4981c245230100'],
  ['add r11, ds:[0x123456]', (asm) => asm.arithmetic('add', 'r11', { at: 'there' }), '4c031c2556341200'],
  ['or rbx, r12', (asm) => asm.arithmetic('or', 'rbx', 'r12'), '4c09e3'],
  ['or r10, 0x12345', (asm) => asm.arithmetic('or', 'r10', 0x12345), '4981ca45230100'],
  ['or r11, ds:[0x123456]', (asm) => asm.arithmetic('or', 'r11', { at: 'there' }), '4c0b1c2556341200'],
  ['and rbx, r12', (asm) => asm.arithmetic('and', 'rbx', 'r12'), '4c21e3'],
  ['and r10, 0x12345', (asm) => asm.arithmetic('and', 'r10', 0x12345), '4981e245230100'],
  ['and r11, ds:[0x123456]', (asm) => asm.arithmetic('and', 'r11', { at: 'there' }), '4c231c2556341200'],
  ['sub rbx, r12', (asm) => asm.arithmetic('sub', 'rbx', 'r12'), '4c29e3'],
  ['sub r10, 0x12345', (asm) => asm.arithmetic('sub', 'r10', 0x12345), '4981ea45230100'],
  ['sub r11, ds:[0x123456]', (asm) => asm.arithmetic('sub', 'r11', { at: 'there' }), '4c2b1c2556341200'],
  ['xor rbx, r12', (asm) => asm.arithmetic('xor', 'rbx', 'r12'), '4c31e3'],
  ['xor r10, 0x12345', (asm) => asm.arithmetic('xor', 'r10', 0x12345), '4981f245230100'],
  ['xor r11, ds:[0x123456]', (asm) => asm.arithmetic('xor', 'r11', { at: 'there' }), '4c331c2556341200'],
  ['cmp rbx, r12', (asm) => asm.arithmetic('cmp', 'rbx', 'r12'), '4c39e3'],
  ['cmp r10, 0x12345', (asm) => asm.arithmetic('cmp', 'r10', 0x12345), '4981fa45230100'],
  ['cmp r11, ds:[0x123456]', (asm) => asm.arithmetic('cmp', 'r11', { at: 'there' }), '4c3b1c2556341200'],
  ['sub rbx, -200000', (asm) => asm.arithmetic('sub', 'rbx', -200000), '4881ebc0f2fcff'],
  ['test rdi, r8', (asm) => asm.test('rdi', 'r8'), '4c85c7'],
  ['rol r14, 3', (asm) => asm.shift('rol', 'r14', 3), '49c1c603'],
  ['shl rax, 32', (asm) => asm.shift('shl', 'rax', 32), '48c1e020'],
  ['shr r9, 12', (asm) => asm.shift('shr', 'r9', 12), '49c1e90c'],
  ['shl rdx, cl', (asm) => asm.shift('shl', 'rdx', 'cl'), '48d3e2'],
  ['shr r12, cl', (asm) => asm.shift('shr', 'r12', 'cl'), '49d3ec'],
  ['imul r11, rax', (asm) => asm.imul('r11', 'rax'), '4c0fafd8'],
  ['imul rax, r11', (asm) => asm.imul('rax', 'r11'), '490fafc3'],
  ['imul r9, ds:[0x123456]', (asm) => asm.imul('r9', { at: 'there' }), '4c0faf0c2556341200'],
  ['div r10', (asm) => asm.div('r10'), '49f7f2'],
  ['div rcx', (asm) => asm.div('rcx'), '48f7f1'],
  ['bsr rcx, r9', (asm) => asm.bitScanReverse('rcx', 'r9'), '490fbdc9'],
  ['mov rax, [rdi]', (asm) => asm.load('rax', 'rdi'), '488b8700000000'],
  ['mov r9, [rsp+0x100]', (asm) => asm.load('r9', 'rsp', 0x100), '4c8b8c2400010000'],
  ['mov rcx, [r12-0x100]', (asm) => asm.load('rcx', 'r12', -0x100), '498b8c2400ffffff'],
  ['mov [r13+8], rax', (asm) => asm.store('r13', 'rax', 8), '49898508000000'],
  ['mov [rdi], r15', (asm) => asm.store('rdi', 'r15'), '4c89bf00000000'],
  ['movzx rax, [rsi]', (asm) => asm.loadByte('rax', 'rsi'), '480fb68600000000'],
  ['movzx r8, [r9+0x1e8]', (asm) => asm.loadByte('r8', 'r9', 0x1e8), '4d0fb681e8010000'],
  ['mov [rdi], sil', (asm) => asm.storeByte('rdi', 'rsi'), '4088b700000000'],
  ['mov [r12+1], sil', (asm) => asm.storeByte('r12', 'rsi', 1), '4188b42401000000'],
  ['mov r9d, [r10+0x90]', (asm) => asm.loadHalf('r9', 'r10', 0x90), '458b8a90000000'],
  ['mov rbp, ds:[0x123456]', (asm) => asm.loadLabel('rbp', 'there'), '488b2c2556341200'],
  ['mov r9, ds:[0x123456]', (asm) => asm.loadLabel('r9', 'there'), '4c8b0c2556341200'],
  ['mov ds:[0x123456], rcx', (asm) => asm.storeLabel('there', 'rcx'), '48890c2556341200'],
  ['mov ds:[0x123456], r13', (asm) => asm.storeLabel('there', 'r13'), '4c892c2556341200'],
  ['push rax; push r12', (asm) => asm.push('rax', 'r12'), '504154'],
  ['pop r12; pop rax', (asm) => asm.pop('r12', 'rax'), '415c58'],
  ['call 0x123456', (asm) => asm.call('there'), 'e851340200'],
  ['jmp 0x123456', (asm) => asm.jump('there'), 'e951340200'],
  ['jb 0x123456', (asm) => asm.jumpIf('b', 'there'), '0f8250340200'],
  ['jae 0x123456', (asm) => asm.jumpIf('ae', 'there'), '0f8350340200'],
  ['jz 0x123456', (asm) => asm.jumpIf('z', 'there'), '0f8450340200'],
  ['jnz 0x123456', (asm) => asm.jumpIf('nz', 'there'), '0f8550340200'],
  ['jbe 0x123456', (asm) => asm.jumpIf('be', 'there'), '0f8650340200'],
  ['ja 0x123456', (asm) => asm.jumpIf('a', 'there'), '0f8750340200'],
  ['out 0x64, al', (asm) => asm.outTo(0x64), 'e664'],
  ['lidt [0x123456]', (asm) => asm.loadInterruptTable('there'), '0f011c2556341200'],
  ['mov cr3, rax', (asm) => asm.setPageTables('rax'), '0f22d8'],
  [
    'cld; cli; sti; hlt; pause; ret; iretq',
    (asm) => asm.op('cld', 'cli', 'sti', 'hlt', 'pause', 'ret', 'iretq'),
    'fcfafbf4f390c348cf',
  ],
  ['in al, dx; out dx, al', (asm) => asm.op('inByte', 'outByte'), 'ecee'],
  ['rep stosq; repe scasq; lodsq', (asm) => asm.op('repStosq', 'repeScasq', 'lodsq'), 'f348abf348af48ad'],
]

describe('assembler', () => {
  test.each(forms)('%s', (_text, emit, bytes) => {
    expect(assembled(emit)).toBe(bytes)
  })

  test('backward and forward jumps count from the end of the instruction', () => {
    const bytes = assembled((asm) => {
      asm.label('back')
      asm.jump('on')
      asm.jump('back')
      asm.label('on')
    })
    expect(bytes).toBe('e905000000' + 'e9f6ffffff')
  })

  test('data: words, text, padding', () => {
    expect(assembled((asm) => asm.word(-2n))).toBe('feffffffffffffff')
    expect(assembled((asm) => asm.text('ok'))).toBe('6f6b00')
    const asm = new Assembler(origin)
    asm.bytes(1)
    asm.padTo(origin + 4)
    expect([asm.here, [...asm.assemble()]]).toEqual([origin + 4, [1, 0, 0, 0]])
  })

  test('mistakes are errors', () => {
    const asm = new Assembler(origin)
    asm.label('one')
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    expect(() => asm.label('one')).toThrow(refused)
    expect(() => asm.arithmetic('add', 'rax', 2 ** 31)).toThrow(refused)
    asm.bytes(0, 0)
    expect(() => asm.padTo(origin + 1)).toThrow(refused)
    asm.call('nowhere')
    expect(() => asm.assemble()).toThrow(refused)
  })
})
