import type { Assembler } from './assembler.js'
import type { Register } from './instruction-set.js'
import { firstUsablePage } from './memory-map.js'
import { mixFactor, orderFactor, wordsPerPage } from './patterns.js'

/**
 * What is done with one page. The code finds the page's address in rdi and its word (see
 * `pageWord`) in rax, leaves both as they were and may use rcx, rdx and rsi; r14 accumulates the
 * result, r15 is the distance between words.
 */
type PageAction = (asm: Assembler, name: string) => void

const actions: Readonly<Record<string, PageAction>> = {
  readWord: (asm) => {
    asm.load('rcx', 'rdi')
    asm.arithmetic('xor', 'r14', 'rcx')
  },
  zeroPage: (asm) => {
    asm.mov('rdx', 'rax')
    asm.arithmetic('xor', 'rax', 'rax')
    asm.set('rcx', wordsPerPage)
    asm.op('repStosq')
    asm.mov('rax', 'rdx')
    asm.arithmetic('sub', 'rdi', 4096)
  },
  writePage: (asm) => {
    asm.set('rcx', wordsPerPage)
    asm.op('repStosq')
    asm.arithmetic('sub', 'rdi', 4096)
  },
  writeWord: (asm) => {
    asm.store('rdi', 'rax')
  },
  writeWords: (asm, name) => {
    asm.mov('rsi', 'rdi')
    asm.loadLabel('rcx', 'words')
    asm.label(`${name} word`)
    asm.store('rsi', 'rax')
    asm.arithmetic('add', 'rsi', 'r15')
    asm.arithmetic('sub', 'rcx', 1)
    asm.jumpIf('nz', `${name} word`)
  },
  verifyPage: (asm, name) => {
    asm.set('rcx', wordsPerPage)
    asm.op('repeScasq')
    asm.jumpIf('z', `${name} same`)
    asm.mov('rsi', 'rdi')
    asm.arithmetic('sub', 'rsi', 8)
    asm.load('rdx', 'rsi')
    asm.jump('replyBad')
    asm.label(`${name} same`)
    asm.arithmetic('sub', 'rdi', 4096)
  },
  verifyWords: (asm, name) => {
    asm.mov('rsi', 'rdi')
    asm.loadLabel('rcx', 'words')
    asm.label(`${name} word`)
    asm.load('rdx', 'rsi')
    asm.arithmetic('cmp', 'rdx', 'rax')
    asm.jumpIf('nz', 'replyBad')
    asm.arithmetic('add', 'rsi', 'r15')
    asm.arithmetic('sub', 'rcx', 1)
    asm.jumpIf('nz', `${name} word`)
  },
  sumPage: (asm, name) => {
    const unrolled = 8
    asm.mov('rsi', 'rdi')
    asm.mov('rdx', 'rax')
    asm.set('rcx', wordsPerPage / unrolled)
    asm.label(`${name} words`)
    for (let i = 0; i < unrolled; i++) {
      asm.op('lodsq')
      asm.shift('rol', 'r14', 1)
      asm.arithmetic('add', 'r14', 'rax')
    }
    asm.arithmetic('sub', 'rcx', 1)
    asm.jumpIf('nz', `${name} words`)
    asm.mov('rax', 'rdx')
  },
}

/**
 * For each action a loop over a pattern, `NAME pattern`, and for the two that need it one over a
 * list, `NAME list`. The action is emitted inside each loop, not called: where instructions are
 * emulated, each costs about 0.4 µs.
 */
export function emitPageLoops(asm: Assembler): void {
  for (const [name, action] of Object.entries(actions)) {
    emitPatternLoop(asm, name, action)
    if (name === 'readWord' || name === 'writeWord') emitListLoop(asm, name, action)
  }
  emitTakePattern(asm)
  emitSegments(asm)
  emitStartShuffle(asm)
  asm.label('wordFactor')
  asm.word(mixFactor << 32n)
  asm.label('orderFactor')
  asm.word(orderFactor)
}

function emitPatternLoop(asm: Assembler, name: string, action: PageAction): void {
  asm.label(`${name} pattern`)
  asm.call('takePattern')
  asm.test('r11', 'r11')
  asm.jumpIf('nz', `${name} shuffled`)

  // r9 pages left in this segment, r10 stride in bytes, rbp what a stride adds to the word.
  asm.call('firstSegment')
  asm.label(`${name} ascending`)
  action(asm, `${name} ascending`)
  asm.arithmetic('add', 'rdi', 'r10')
  asm.arithmetic('add', 'rax', 'rbp')
  asm.arithmetic('sub', 'r9', 1)
  asm.jumpIf('nz', `${name} ascending`)
  asm.call('nextSegment')
  asm.jumpIf('nz', `${name} ascending`)
  asm.jump('replyCount')

  // See `touchedPages`: a generator with full period over the next power of two,
  // indices from the count on left out.
  asm.label(`${name} shuffled`)
  asm.call('startShuffle')
  asm.label(`${name} next`)
  asm.imul('r11', { at: 'orderFactor' })
  asm.arithmetic('add', 'r11', 'r13')
  asm.arithmetic('and', 'r11', 'r12')
  asm.mov('rbx', 'r11')
  asm.mov('rcx', 'rbp')
  asm.shift('shr', 'rbx', 'cl')
  asm.arithmetic('xor', 'rbx', 'r11')
  asm.arithmetic('cmp', 'rbx', { at: 'count' })
  asm.jumpIf('ae', `${name} next`)
  asm.imul('rbx', 'r10')
  asm.arithmetic('add', 'rbx', 'r8')
  emitAddressAndWord(asm, `${name} shuffled`)
  action(asm, `${name} shuffled`)
  asm.arithmetic('sub', 'r9', 1)
  asm.jumpIf('nz', `${name} next`)
  asm.jump('replyCount')
}

/** The r13 page numbers from rsi on, all checked before any is touched. */
function emitListLoop(asm: Assembler, name: string, action: PageAction): void {
  asm.label(`${name} list`)
  asm.storeLabel('count', 'r13')
  asm.mov('r8', 'rsi')
  for (const pass of ['check', 'touch']) {
    const [each, done] = [`${name} ${pass}`, `${name} ${pass} done`]
    asm.loadLabel('r9', 'count')
    asm.mov('r10', 'r8')
    asm.label(each)
    asm.test('r9', 'r9')
    asm.jumpIf('z', done)
    asm.load('rbx', 'r10')
    if (pass === 'check') asm.call('checkPage')
    else {
      emitAddressAndWord(asm, `${name} list`)
      action(asm, `${name} list`)
    }
    asm.arithmetic('add', 'r10', 8)
    asm.arithmetic('sub', 'r9', 1)
    asm.jump(each)
    asm.label(done)
  }
  asm.jump('replyCount')
}

/** Page number in rbx to its address in rdi, across the gap below 4 GiB, and its word in rax. */
function emitAddressAndWord(asm: Assembler, name: string): void {
  asm.mov('rdi', 'rbx')
  asm.arithmetic('cmp', 'rbx', { at: 'split' })
  asm.jumpIf('b', `${name} below gap`)
  asm.arithmetic('add', 'rdi', { at: 'gap' })
  asm.label(`${name} below gap`)
  asm.shift('shl', 'rdi', 12)
  asm.mov('rax', 'rbx')
  asm.imul('rax', { at: 'wordFactor' })
  asm.arithmetic('add', 'rax', { at: 'wordBase' })
}

/**
 * START COUNT STRIDE ORDER into r8 to r11 and the word distance into r15, checked before any page is touched.
 */
function emitTakePattern(asm: Assembler): void {
  asm.label('takePattern')
  const targets: readonly Register[] = ['r8', 'r9', 'r10', 'r11']
  targets.forEach((register, index) => {
    asm.load(register, 'rsi', 8 * index)
  })
  asm.loadLabel('r15', 'step')
  asm.test('r9', 'r9')
  asm.jumpIf('z', 'replyCount')
  asm.test('r10', 'r10')
  asm.jumpIf('z', 'errorRange')
  for (const register of ['r9', 'r10'] as const) {
    asm.arithmetic('cmp', register, { at: 'pages' })
    asm.jumpIf('a', 'errorRange')
  }
  asm.mov('rax', 'r11')
  asm.shift('shr', 'rax', 32)
  asm.jumpIf('nz', 'errorRange')
  asm.mov('rbx', 'r8')
  asm.call('checkPage')
  // The last page: no overflow, count and stride are below 2^24.
  asm.mov('rbx', 'r9')
  asm.arithmetic('sub', 'rbx', 1)
  asm.imul('rbx', 'r10')
  asm.arithmetic('add', 'rbx', 'r8')
  asm.call('checkPage')
  asm.storeLabel('count', 'r9')
  asm.op('ret')

  // A command may touch page rbx, or errorRange.
  asm.label('checkPage')
  asm.arithmetic('cmp', 'rbx', firstUsablePage)
  asm.jumpIf('b', 'errorRange')
  asm.arithmetic('cmp', 'rbx', { at: 'pages' })
  asm.jumpIf('ae', 'errorRange')
  asm.op('ret')
}

/** An ascending pattern is at most two segments: pages below the split, then those above the gap. */
function emitSegments(asm: Assembler): void {
  asm.label('firstSegment')
  asm.loadLabel('rax', 'gap')
  asm.shift('shl', 'rax', 12)
  asm.storeLabel('gapBytes', 'rax')
  asm.mov('rbx', 'r8')
  emitAddressAndWord(asm, 'firstSegment')
  asm.push('rax')
  asm.mov('rbp', 'r10')
  asm.imul('rbp', { at: 'wordFactor' })
  asm.arithmetic('xor', 'rcx', 'rcx')
  asm.storeLabel('rest', 'rcx')
  asm.loadLabel('rax', 'split')
  asm.arithmetic('sub', 'rax', 'r8')
  asm.jumpIf('be', 'oneSegment')
  // Pages below the split: (split - start - 1) / stride + 1.
  asm.arithmetic('sub', 'rax', 1)
  asm.arithmetic('xor', 'rdx', 'rdx')
  asm.div('r10')
  asm.arithmetic('add', 'rax', 1)
  asm.arithmetic('cmp', 'rax', 'r9')
  asm.jumpIf('ae', 'oneSegment')
  asm.arithmetic('sub', 'r9', 'rax')
  asm.storeLabel('rest', 'r9')
  asm.mov('r9', 'rax')
  asm.label('oneSegment')
  asm.shift('shl', 'r10', 12)
  asm.pop('rax')
  asm.op('ret')

  // Zero flag set when there is none. rdi has arrived at the split, rax is right already.
  asm.label('nextSegment')
  asm.arithmetic('add', 'rdi', { at: 'gapBytes' })
  asm.loadLabel('r9', 'rest')
  asm.arithmetic('xor', 'rcx', 'rcx')
  asm.storeLabel('rest', 'rcx')
  asm.test('r9', 'r9')
  asm.op('ret')
}

/**
 * From order r11 and count r9: increment r13, mask r12 and shift rbp of the
 * generator, and its first state in r11.
 */
function emitStartShuffle(asm: Assembler): void {
  asm.label('startShuffle')
  asm.mov('r13', 'r11')
  asm.arithmetic('add', 'r13', 'r13')
  asm.arithmetic('add', 'r13', 1)
  asm.arithmetic('xor', 'r12', 'r12')
  asm.arithmetic('xor', 'rbp', 'rbp')
  asm.mov('rax', 'r9')
  asm.arithmetic('sub', 'rax', 1)
  asm.jumpIf('z', 'shuffleReady')
  asm.bitScanReverse('rcx', 'rax')
  asm.arithmetic('add', 'rcx', 1)
  asm.set('r12', 1)
  asm.shift('shl', 'r12', 'cl')
  asm.arithmetic('sub', 'r12', 1)
  asm.arithmetic('add', 'rcx', 1)
  asm.shift('shr', 'rcx', 1)
  asm.mov('rbp', 'rcx')
  asm.label('shuffleReady')
  asm.arithmetic('and', 'r11', 'r12')
  asm.op('ret')
}
