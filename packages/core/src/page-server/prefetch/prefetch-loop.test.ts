import { expect, test } from 'vitest'
import type { MappedRegion } from '../../memory/mapped-region.js'
import type { CopySource, InstallResult } from '../../sys/userfaultfd.js'
import { PrefetchLoop, type PrefetchOps, prefetchCounterNames, stagingPages } from './prefetch-loop.js'
import type { PrefetchPiece } from './prefetch-plan.js'

const page = 4096
const staging: CopySource = { address: 7_000_000 * page, lengthBytes: stagingPages * page }
const mapped: CopySource = { address: 9_000_000 * page, lengthBytes: 5000 * page }
const regions: readonly MappedRegion[] = [
  { address: 5_000 * page, firstPage: 1000, pages: 1000 },
  { address: 20_000 * page, firstPage: 0, pages: 1000 },
]

/** The kernel's side: `there` holds page addresses that are installed; `answers` come first. */
class Ops implements PrefetchOps {
  readonly calls: string[] = []
  readonly there = new Set<number>()
  readonly answers: InstallResult[] = []
  copiedBytes = 0
  zeroedBytes = 0

  readonly gate: { readonly held: boolean }

  constructor(gate: { readonly held: boolean }) {
    this.gate = gate
  }

  copy(address: number, source: CopySource, offset: number, length: number): InstallResult {
    const from = source === staging ? 'staging' : 'layer'
    this.calls.push(`copy ${address / page} ${from}[${offset / page}] ${length / page}`)
    const { result, done } = this.#install(address, length)
    this.copiedBytes = done
    return result
  }

  zero(address: number, length: number): InstallResult {
    this.calls.push(`zero ${address / page} ${length / page}`)
    const { result, done } = this.#install(address, length)
    this.zeroedBytes = done
    return result
  }

  /**
   * As UFFDIO_COPY: it stops at a page that is there; EEXIST if that is the first,
   * else EAGAIN with what was done.
   */
  #install(address: number, length: number): { result: InstallResult; done: number } {
    expect(this.gate.held).toBe(true)
    const told = this.answers.shift()
    if (told !== undefined) return { result: told, done: 0 }
    for (let done = 0; done < length; done += page) {
      if (this.there.has((address + done) / page)) return { result: done === 0 ? 'exists' : 'again', done }
      this.there.add((address + done) / page)
    }
    return { result: 'installed', done: length }
  }
}

function setUp(
  plan: readonly PrefetchPiece[],
  options: { cold?: boolean; halted?: () => boolean; yields?: () => void } = {},
) {
  const gate = {
    held: false,
    beginCopy: () => {
      gate.held = true
    },
    endCopy: () => {
      gate.held = false
    },
  }
  const ops = new Ops(gate)
  const brought: string[] = []
  const counters = new Float64Array(prefetchCounterNames.length)
  let pauses = 0
  const read = (first: number, pages: number) => void ops.calls.push(`read ${first} ${pages}`)
  const loop = new PrefetchLoop({
    ops,
    regions,
    plan,
    sources: [{ mapped, read: options.cold === true ? read : undefined }],
    staging,
    counters,
    halted: options.halted ?? (() => false),
    yields: options.yields ?? (() => {}),
    pause: () => void pauses++,
    gate,
    bring: (address, length) => {
      expect(gate.held).toBe(false)
      brought.push(`${(address - mapped.address) / page} ${length / page}`)
    },
  })
  const counts = () =>
    Object.fromEntries(prefetchCounterNames.map((name, index) => [name, counters[index] as number]))
  return { ops, loop, counts, gate, brought, pauses: () => pauses }
}
const piece = (first: number, pages: number, storedPage = first, source = 0): PrefetchPiece => ({
  page: first,
  pages,
  source,
  storedPage,
})
const zeros = (first: number, pages: number) => piece(first, pages, 0, -1)

test('pieces are installed in large calls, cut at regions, from where they are mapped', () => {
  const { loop, ops, counts } = setUp([piece(990, 20, 40), zeros(500, 300), piece(1, 1)])
  expect(loop.run()).toBe(true)
  expect(ops.calls).toEqual([
    'copy 20990 layer[40] 10',
    'copy 5000 layer[50] 10',
    'zero 20500 300',
    'copy 20001 layer[1] 1',
  ])
  expect(counts()).toEqual({
    plannedPages: 321,
    copiedPages: 21,
    zeroPages: 300,
    existingPages: 0,
    requests: 4,
    readBytes: 0,
  })
})

test('pages that are there already are passed over, wherever they lie', () => {
  const { loop, ops, counts } = setUp([piece(10, 6), zeros(100, 4)])
  for (const there of [20_010, 20_013, 20_014, 20_102]) ops.there.add(there)
  expect(loop.run()).toBe(true)
  for (let at = 20_010; at < 20_016; at++) expect(ops.there.has(at)).toBe(true)
  expect(ops.calls).toContain('copy 20011 layer[11] 5')
  expect(ops.calls.at(-1)).toBe('zero 20103 1')
  expect(counts()).toMatchObject({ copiedPages: 3, zeroPages: 3, existingPages: 4 })
})

test('an unread event is waited for; a range that is gone is left', () => {
  const { loop, ops, counts, pauses } = setUp([piece(10, 2), piece(20, 2), piece(30, 2)])
  ops.answers.push('again', 'again', 'installed', 'gone')
  expect(loop.run()).toBe(true)
  expect(ops.calls).toEqual([
    'copy 20010 layer[10] 2',
    'copy 20010 layer[10] 2',
    'copy 20010 layer[10] 2',
    'copy 20020 layer[20] 2',
    'copy 20030 layer[30] 2',
  ])
  expect(pauses()).toBe(2)
  expect(counts().copiedPages).toBe(4)
})

test('one event that is never read does not hold the rest back for ever', () => {
  const { loop, ops } = setUp([piece(10, 2), piece(20, 2)])
  ops.answers.push(...Array<InstallResult>(5000).fill('again'))
  expect(loop.run()).toBe(true)
  expect(ops.calls.at(-1)).toBe('copy 20020 layer[20] 2')
})

test('a layer out of the page cache is read with small gaps, as much as fits, and only wanted pages are installed', () => {
  const { loop, ops, counts } = setUp(
    [
      piece(10, 2),
      piece(40, 1),
      piece(74, 1),
      zeros(300, 1),
      piece(75, 1),
      piece(5, 1),
      piece(400, 512, 1000),
    ],
    { cold: true },
  )
  expect(loop.run()).toBe(true)
  expect(ops.calls).toEqual([
    'read 10 31',
    'copy 20010 staging[0] 2',
    'copy 20040 staging[30] 1',
    'read 74 1',
    'copy 20074 staging[0] 1',
    'zero 20300 1',
    'read 75 1',
    'copy 20075 staging[0] 1',
    'read 5 1',
    'copy 20005 staging[0] 1',
    'read 1000 512',
    ...Array.from({ length: 16 }, (_, n) => `copy ${20_400 + 32 * n} staging[${32 * n}] 32`),
  ])
  expect(counts().readBytes).toBe((31 + 1 + 1 + 1 + 512) * page)
})

test('what one call copies is little, and in memory before it: a fault waits for that call', () => {
  const { loop, ops, brought } = setUp([piece(10, 70), zeros(300, 512)])
  expect(loop.run()).toBe(true)
  expect(brought).toEqual(['10 70'])
  expect(ops.calls).toEqual([
    'copy 20010 layer[10] 32',
    'copy 20042 layer[42] 32',
    'copy 20074 layer[74] 6',
    'zero 20300 512',
  ])
})

test('a removal that is read before a call begins is known within the gate', () => {
  const { loop, ops, gate } = setUp([piece(10, 2), piece(20, 2)], { halted: () => gate.held })
  expect(loop.run()).toBe(true)
  expect(ops.calls).toEqual([])
})

test('halted, it installs nothing more and says so', () => {
  let left = 2
  const { loop, ops } = setUp([piece(10, 2), piece(20, 2), piece(30, 2)], { halted: () => left-- <= 0 })
  expect(loop.run()).toBe(false)
  expect(ops.calls).toEqual(['copy 20010 layer[10] 2'])
})

test('before each piece it yields to others, and sees then that it is to end', () => {
  let yields = 0
  const { loop, ops } = setUp([piece(1000, 1), piece(1002, 1), piece(1004, 1)], {
    yields: () => void ops.calls.push(`yield ${++yields}`),
    halted: () => yields === 3,
  })
  expect(loop.run()).toBe(false)
  expect(ops.calls).toEqual([
    'yield 1',
    'copy 5000 layer[1000] 1',
    'yield 2',
    'copy 5002 layer[1002] 1',
    'yield 3',
  ])
})
