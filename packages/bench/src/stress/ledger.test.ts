import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Context } from './context.js'
import { lawful } from './lawful.js'
import { Ledger } from './ledger.js'

let directory: string
let ledger: Ledger
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-ledger-'))
  ledger = new Ledger(join(directory, 'ledger'))
})
afterEach(() => {
  ledger.close()
  rmSync(directory, { recursive: true })
})

function named(op: string, id: string, ...tags: string[]): void {
  ledger.write({ event: 'begin', op })
  ledger.write({ event: 'named', op, id, tags })
}

describe('what a run expects of tags', () => {
  test('a tag that was given must be there, until its removal begins', () => {
    ledger.write({ event: 'begin', op: '1' })
    expect(ledger.mayBeAbsent('a')).toBe(true)
    ledger.write({ event: 'named', op: '1', id: 'x', tags: ['a'] })
    expect(ledger.mayBeAbsent('a')).toBe(false)
    expect(ledger.expectedTags()).toEqual(['a'])
    ledger.write({ event: 'remove', op: '2', tag: 'a' })
    expect(ledger.mayBeAbsent('a')).toBe(true)
    expect(ledger.expectedTags()).toEqual([])
  })

  test('the removal of a snapshot removes all of its tags', () => {
    named('1', 'x', 'a')
    named('2', 'x', 'b')
    named('3', 'y', 'c')
    ledger.write({ event: 'remove', op: '4', id: 'x' })
    expect(ledger.expectedTags()).toEqual(['c'])
  })

  test('a tag that is given again after a removal must be there; during one it need not', () => {
    named('1', 'x', 'a')
    ledger.write({ event: 'remove', op: '2', id: 'x' })
    named('3', 'x', 'a')
    expect(ledger.mayBeAbsent('a')).toBe(true)
    ledger.write({ event: 'removed', op: '2' })
    expect(ledger.mayBeAbsent('a')).toBe(true)
    named('4', 'x', 'a')
    expect(ledger.mayBeAbsent('a')).toBe(false)
  })
})

describe('what a worker may fail with', () => {
  const error = new VarveError('NOT_FOUND', 'no tag a')

  test('a tag that is gone fails the run, unless it was removed', () => {
    named('1', 'x', 'a')
    const context = new Context('2', ledger)
    context.refs.push('a')
    expect(lawful('restore', error, context)).toBeUndefined()
    ledger.write({ event: 'remove', op: '3', tag: 'a' })
    expect(lawful('restore', error, context)).toMatch(/removed/)
  })

  test('the end of a VM fails the run, unless its VMM was killed', () => {
    const context = new Context('1', ledger)
    context.vms.push({ identity: { pid: 7, startTime: 8 }, begun: 0, ready: 0 })
    const exited = new VarveError('MACHINE_EXITED', 'it ended')
    ledger.write({ event: 'kill', what: 'vmm', pid: 7, startTime: 9, owner: 1 })
    expect(lawful('touch', exited, context)).toBeUndefined()
    ledger.write({ event: 'kill', what: 'vmm', pid: 7, startTime: 8, owner: 1 })
    expect(lawful('touch', exited, context)).toMatch(/killed/)
  })

  test('a clean-up that fails too must fail for a right reason', () => {
    named('1', 'x', 'a')
    const context = new Context('2', ledger)
    context.refs.push('a')
    ledger.write({ event: 'remove', op: '3', id: 'x' })
    const both = (cleanUp: Error) =>
      Object.assign(new Error('both'), { name: 'SuppressedError', suppressed: error, error: cleanUp })
    expect(lawful('restore', both(error), context)).toMatch(/removed/)
    expect(lawful('restore', both(new VarveError('GUEST_MEMORY', 'wrong')), context)).toBeUndefined()
  })

  test('wrong memory, an error of the system and a bug never pass', () => {
    named('1', 'x', 'a')
    ledger.write({ event: 'remove', op: '2', id: 'x' })
    ledger.write({ event: 'kill', what: 'server', pid: 7, startTime: 8 })
    const context = new Context('3', ledger)
    context.refs.push('a')
    const all = [
      new VarveError('GUEST_MEMORY', 'wrong'),
      Object.assign(new Error('ENOENT'), { code: 'ENOENT' }),
      Object.assign(new Error('not ours'), { code: 'NOT_FOUND' }),
      new TypeError('undefined'),
    ]
    for (const each of all) expect(lawful('restore', each, context)).toBeUndefined()
  })
})
