import { Assembler } from './assembler.js'
import { emitConsole } from './guest-console.js'
import { emitMachine } from './guest-machine.js'
import { emitPageLoops } from './guest-pages.js'
import { addressOfPage, microMemoryMap } from './memory-map.js'
import { mixFactor, wordsPerPage } from './patterns.js'

const maxLineBytes = 4095

/**
 * The guest program, from its entry on. Firecracker starts it in 64-bit mode with interrupts off, the first
 * GiB mapped one to one, and rsi at the boot parameters.
 */
export function assembleGuestProgram(): { bytes: Uint8Array; entry: number } {
  const { code } = microMemoryMap
  const entry = addressOfPage(code.start)
  const asm = new Assembler(entry)
  defineAreas(asm)
  emitStart(asm)
  emitMainLoop(asm)
  emitCommands(asm)
  emitPageLoops(asm)
  emitConsole(asm)
  emitMachine(asm)
  asm.padTo(addressOfPage(code.start + code.count))
  return { bytes: asm.assemble(), entry }
}

/** Of the data page. `tag` to `gap` say what the guest was asked and has; the others serve one command. */
const variables = [
  'tag',
  'pages',
  'split',
  'gap',
  'count',
  'wordBase',
  'words',
  'step',
  'rest',
  'gapBytes',
] as const

function defineAreas(asm: Assembler): void {
  const { data, line, numbers, stack, pageTables } = microMemoryMap
  variables.forEach((name, index) => {
    asm.define(name, addressOfPage(data.start) + 8 * index)
  })
  asm.define('line', addressOfPage(line.start))
  asm.define('lineEnd', addressOfPage(line.start) + maxLineBytes)
  asm.define('numbers', addressOfPage(numbers.start))
  asm.define('stackTop', addressOfPage(stack.start + stack.count))
  asm.define('rootTable', addressOfPage(pageTables.start))
  asm.define('secondTable', addressOfPage(pageTables.start + 1))
  asm.define('thirdTables', addressOfPage(pageTables.start + 2))
}

function emitStart(asm: Assembler): void {
  asm.label('start')
  asm.op('cli', 'cld')
  asm.setLabel('rsp', 'stackTop')
  asm.call('readMemoryMap')
  asm.call('mapMemory')
  asm.call('startInterrupts')
  asm.setLabel('rsi', 'textBanner')
  asm.call('putText')
  asm.loadLabel('rax', 'pages')
  asm.call('putNumber')
  asm.jump('endReply')
  asm.label('textBanner')
  asm.text('varve-micro 1 ready')
}

/** `TAG COMMAND NUMBER…`; the command's letters, at most eight, are compared as one 64-bit number. */
function emitMainLoop(asm: Assembler): void {
  asm.label('main')
  // Errors leave from inside subroutines, so each command begins with an empty stack.
  asm.setLabel('rsp', 'stackTop')
  asm.arithmetic('xor', 'r14', 'r14')
  asm.storeLabel('tag', 'r14')
  asm.storeLabel('count', 'r14')
  asm.call('readLine')
  asm.setLabel('rsi', 'line')
  asm.call('parseNumber')
  asm.storeLabel('tag', 'rbx')
  asm.call('skipSpaces')
  asm.arithmetic('xor', 'rbp', 'rbp')
  asm.arithmetic('xor', 'rcx', 'rcx')
  asm.label('letter')
  asm.loadByte('rax', 'rsi')
  asm.arithmetic('cmp', 'rax', 0x20)
  asm.jumpIf('be', 'lettersDone')
  asm.arithmetic('cmp', 'rcx', 64)
  asm.jumpIf('ae', 'errorCommand')
  asm.shift('shl', 'rax', 'cl')
  asm.arithmetic('or', 'rbp', 'rax')
  asm.arithmetic('add', 'rcx', 8)
  asm.arithmetic('add', 'rsi', 1)
  asm.jump('letter')
  asm.label('lettersDone')
  asm.call('parseNumbers')
  for (const name of commands) {
    asm.set('rax', packed(name))
    asm.arithmetic('cmp', 'rax', 'rbp')
    asm.jumpIf('z', `command ${name}`)
  }
  asm.jump('errorCommand')
}

const commands = ['ping', 'memory', 'read', 'write', 'verify', 'zero', 'sum', 'readat', 'writeat', 'exit']

const packed = (name: string): bigint => Buffer.from(name.padEnd(8, '\0'), 'latin1').readBigUInt64LE()

function emitCommands(asm: Assembler): void {
  emitSimpleCommands(asm)
  emitPatternCommands(asm)
  emitListCommands(asm)
  emitSeedAndWords(asm)
}

function emitSimpleCommands(asm: Assembler): void {
  asm.label('command ping')
  asm.jump('replyCount')

  asm.label('command memory')
  asm.call('beginOk')
  for (const name of ['pages', 'split', 'gap']) {
    asm.loadLabel('rax', name)
    asm.call('putNumber')
  }
  asm.jump('endReply')

  asm.label('command exit')
  asm.call('beginOk')
  asm.set('rax', 0x0a)
  asm.call('putByte')
  // The keyboard controller's reset line; Firecracker ends the VM on it.
  asm.set('rax', 0xfe)
  asm.outTo(0x64)
  asm.label('stopped')
  asm.op('hlt')
  asm.jump('stopped')
}

/** START COUNT STRIDE ORDER, and for write and verify also SEED WORDS. */
function emitPatternCommands(asm: Assembler): void {
  const numbersAre = (count: number) => {
    asm.arithmetic('cmp', 'r13', count)
    asm.jumpIf('nz', 'errorNumbers')
  }
  for (const [name, action] of [
    ['read', 'readWord'],
    ['zero', 'zeroPage'],
    ['sum', 'sumPage'],
  ] as const) {
    asm.label(`command ${name}`)
    numbersAre(4)
    asm.jump(`${action} pattern`)
  }

  // A whole page is one string instruction, fewer words are a loop.
  for (const name of ['write', 'verify'] as const) {
    asm.label(`command ${name}`)
    numbersAre(6)
    asm.load('rbx', 'rsi', 32)
    asm.load('rcx', 'rsi', 40)
    asm.call('takeSeedAndWords')
    asm.arithmetic('cmp', 'rcx', wordsPerPage)
    asm.jumpIf('z', `${name}Page pattern`)
    if (name === 'write') {
      asm.arithmetic('cmp', 'rcx', 1)
      asm.jumpIf('z', 'writeWord pattern')
    }
    asm.jump(`${name}Words pattern`)
  }
}

/** `readat PAGE…` and `writeat SEED PAGE…` */
function emitListCommands(asm: Assembler): void {
  asm.label('command readat')
  asm.jump('readWord list')

  asm.label('command writeat')
  asm.test('r13', 'r13')
  asm.jumpIf('z', 'errorNumbers')
  asm.load('rbx', 'rsi')
  asm.set('rcx', 1)
  asm.call('takeSeedAndWords')
  asm.arithmetic('add', 'rsi', 8)
  asm.arithmetic('sub', 'r13', 1)
  asm.jump('writeWord list')
}

/** Checks the seed in rbx, below 2^32, and the words in rcx, a power of two up to 512. Keeps rcx and rsi. */
function emitSeedAndWords(asm: Assembler): void {
  asm.label('takeSeedAndWords')
  asm.mov('rax', 'rcx')
  asm.arithmetic('sub', 'rax', 1)
  asm.arithmetic('cmp', 'rax', wordsPerPage - 1)
  asm.jumpIf('a', 'errorRange')
  asm.arithmetic('and', 'rax', 'rcx')
  asm.jumpIf('nz', 'errorRange')
  asm.mov('rax', 'rbx')
  asm.shift('shr', 'rax', 32)
  asm.jumpIf('nz', 'errorRange')
  // A page's word is page × (mixFactor << 32) + seed × mixFactor; this is the second half.
  asm.set('rax', mixFactor)
  asm.imul('rbx', 'rax')
  asm.storeLabel('wordBase', 'rbx')
  asm.storeLabel('words', 'rcx')
  asm.set('rax', 4096)
  asm.arithmetic('xor', 'rdx', 'rdx')
  asm.div('rcx')
  asm.storeLabel('step', 'rax')
  asm.op('ret')
}
