import type { Assembler } from './assembler.js'

const serialData = 0x3f8
const serialLineStatus = 0x3fd
/**
 * ASCII "cancel": forgets the line so far. A guest restored in the middle of a
 * line is told to begin anew by it.
 */
export const cancelByte = 0x18
/** Of the page for the parsed numbers: 64-bit words. */
const maxNumbers = 512

/** Lines in and out of the serial port, numbers in both directions, and the three kinds of reply. */
export function emitConsole(asm: Assembler): void {
  emitReplies(asm)
  emitBytes(asm)
  emitNumbers(asm)
}

function emitReplies(asm: Assembler): void {
  // `TAG ok DONE RESULT`
  asm.label('replyCount')
  asm.call('beginOk')
  asm.loadLabel('rax', 'count')
  asm.call('putNumber')
  asm.mov('rax', 'r14')
  asm.call('putNumber')
  asm.label('endReply')
  asm.set('rax', 0x0a)
  asm.call('putByte')
  asm.jump('main')

  // `TAG bad PAGE BYTE FOUND EXPECTED`; rsi is at the wrong word, rdx holds it, rax what it should be.
  asm.label('replyBad')
  asm.push('rax', 'rdx')
  asm.mov('rdi', 'rsi')
  asm.setLabel('rsi', 'textBad')
  asm.call('beginReply')
  // From the address back to the page: the gap lies right below 4 GiB.
  asm.mov('rax', 'rdi')
  asm.shift('shr', 'rax', 12)
  asm.arithmetic('cmp', 'rax', 2 ** 20)
  asm.jumpIf('b', 'badBelowGap')
  asm.arithmetic('sub', 'rax', { at: 'gap' })
  asm.label('badBelowGap')
  asm.call('putNumber')
  asm.mov('rax', 'rdi')
  asm.arithmetic('and', 'rax', 4095)
  asm.call('putNumber')
  for (let i = 0; i < 2; i++) {
    asm.pop('rax')
    asm.call('putNumber')
  }
  asm.jump('endReply')

  for (const [label, text] of [
    ['errorCommand', 'err command'],
    ['errorNumbers', 'err numbers'],
    ['errorRange', 'err range'],
    ['errorLine', 'err line'],
  ] as const) {
    asm.label(label)
    asm.setLabel('rsi', `text ${text}`)
    asm.call('beginReply')
    asm.jump('endReply')
    asm.label(`text ${text}`)
    asm.text(text)
  }

  asm.label('beginOk')
  asm.setLabel('rsi', 'textOk')
  asm.label('beginReply')
  asm.loadLabel('rax', 'tag')
  asm.call('putHex')
  asm.set('rax', 0x20)
  asm.call('putByte')
  asm.jump('putText')
  asm.label('textOk')
  asm.text('ok')
  asm.label('textBad')
  asm.text('bad')
}

/**
 * Port access only: the line status register says when there is input; output is always ready in Firecracker.
 */
function emitBytes(asm: Assembler): void {
  asm.label('putByte')
  asm.set('rdx', serialData)
  asm.op('outByte', 'ret')

  asm.label('putText')
  asm.loadByte('rax', 'rsi')
  asm.test('rax', 'rax')
  asm.jumpIf('z', 'putTextDone')
  asm.call('putByte')
  asm.arithmetic('add', 'rsi', 1)
  asm.jump('putText')
  asm.label('putTextDone')
  asm.op('ret')

  asm.label('readLine')
  asm.setLabel('rdi', 'line')
  asm.setLabel('rbx', 'lineEnd')
  asm.label('lineByte')
  asm.call('getByte')
  asm.arithmetic('cmp', 'rax', cancelByte)
  asm.jumpIf('z', 'readLine')
  asm.arithmetic('cmp', 'rax', 0x0a)
  asm.jumpIf('z', 'lineDone')
  asm.arithmetic('cmp', 'rdi', 'rbx')
  asm.jumpIf('ae', 'lineByte')
  asm.storeByte('rdi', 'rax')
  asm.arithmetic('add', 'rdi', 1)
  asm.jump('lineByte')
  asm.label('lineDone')
  asm.arithmetic('cmp', 'rdi', 'rbx')
  asm.jumpIf('ae', 'errorLine')
  asm.arithmetic('xor', 'rax', 'rax')
  asm.storeByte('rdi', 'rax')
  asm.op('ret')

  // Interrupts are on only within sti; hlt: a byte that came after the poll wakes the halt at once.
  asm.label('getByte')
  asm.set('rdx', serialLineStatus)
  asm.op('inByte')
  asm.arithmetic('and', 'rax', 1)
  asm.jumpIf('nz', 'byteReady')
  asm.op('sti', 'hlt', 'cli')
  asm.jump('getByte')
  asm.label('byteReady')
  asm.set('rdx', serialData)
  asm.arithmetic('xor', 'rax', 'rax')
  asm.op('inByte', 'ret')
}

function emitNumbers(asm: Assembler): void {
  // A space and rax in hexadecimal.
  asm.label('putNumber')
  asm.push('rax')
  asm.set('rax', 0x20)
  asm.call('putByte')
  asm.pop('rax')
  asm.label('putHex')
  asm.push('rbx')
  asm.mov('rbx', 'rax')
  for (const letter of '0x') {
    asm.set('rax', letter.charCodeAt(0))
    asm.call('putByte')
  }
  asm.arithmetic('xor', 'rcx', 'rcx')
  asm.test('rbx', 'rbx')
  asm.jumpIf('z', 'putDigit')
  asm.bitScanReverse('rcx', 'rbx')
  asm.arithmetic('and', 'rcx', ~3)
  asm.label('putDigit')
  asm.mov('rax', 'rbx')
  asm.shift('shr', 'rax', 'cl')
  asm.arithmetic('and', 'rax', 15)
  asm.arithmetic('add', 'rax', 0x30)
  asm.arithmetic('cmp', 'rax', 0x39)
  asm.jumpIf('be', 'putThisDigit')
  asm.arithmetic('add', 'rax', 0x27)
  asm.label('putThisDigit')
  asm.call('putByte')
  asm.arithmetic('sub', 'rcx', 4)
  asm.jumpIf('ae', 'putDigit')
  asm.pop('rbx')
  asm.op('ret')

  // Decimal number below 2^40 at rsi, into rbx; anything else is errorNumbers.
  asm.label('parseNumber')
  asm.call('skipSpaces')
  asm.arithmetic('xor', 'rbx', 'rbx')
  asm.label('parseDigit')
  asm.loadByte('rax', 'rsi')
  asm.arithmetic('sub', 'rax', 0x30)
  asm.arithmetic('cmp', 'rax', 9)
  asm.jumpIf('a', 'errorNumbers')
  asm.set('rdx', 10)
  asm.imul('rbx', 'rdx')
  asm.arithmetic('add', 'rbx', 'rax')
  asm.mov('rax', 'rbx')
  asm.shift('shr', 'rax', 40)
  asm.jumpIf('nz', 'errorNumbers')
  asm.arithmetic('add', 'rsi', 1)
  asm.loadByte('rax', 'rsi')
  asm.arithmetic('cmp', 'rax', 0x20)
  asm.jumpIf('a', 'parseDigit')
  asm.op('ret')

  asm.label('skipSpaces')
  asm.loadByte('rax', 'rsi')
  asm.arithmetic('cmp', 'rax', 0x20)
  asm.jumpIf('nz', 'spacesDone')
  asm.arithmetic('add', 'rsi', 1)
  asm.jump('skipSpaces')
  asm.label('spacesDone')
  asm.op('ret')

  // All numbers up to the end of the line; their count in r13, rsi at the first.
  asm.label('parseNumbers')
  asm.setLabel('rdi', 'numbers')
  asm.arithmetic('xor', 'r13', 'r13')
  asm.label('parseNext')
  asm.call('skipSpaces')
  asm.test('rax', 'rax')
  asm.jumpIf('z', 'numbersDone')
  asm.arithmetic('cmp', 'r13', maxNumbers)
  asm.jumpIf('ae', 'errorNumbers')
  asm.call('parseNumber')
  asm.store('rdi', 'rbx')
  asm.arithmetic('add', 'rdi', 8)
  asm.arithmetic('add', 'r13', 1)
  asm.jump('parseNext')
  asm.label('numbersDone')
  asm.setLabel('rsi', 'numbers')
  asm.op('ret')
}
