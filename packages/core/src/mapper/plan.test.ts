import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ExtentMap, lookupPage, zeroSource } from '../layer/extent-map.js'
import { ExtentMapBuilder } from '../layer/extent-map-builder.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import { emptyPageSet, type PageSet, pagesOf } from '../memory/page-set.js'
import { minus } from '../memory/page-set-algebra.js'
import { flatMap } from '../restore/engines/mapped/mappable-image.js'
import { prefaultOrder, prefaultSteps } from '../restore/engines/mapped/prefault-order.js'
import { SyscallTable } from '../sys/inject/syscall-table.js'
import { systemCall } from '../sys/inject/system-call.js'
import type { WorkingSet } from '../working-set/working-set.js'
import { usedLayers } from './mappable-layers.js'
import { addExtentCalls, addPrefaultCalls, addZeroCalls, besideCalls } from './plan.js'
import { RegionCollector } from './region-collector.js'

const pageBytes = 4096
const layers = 4

const mapOf = (runs: readonly { count: number; source: number; page: number }[]): ExtentMap => {
  const builder = new ExtentMapBuilder(runs.length)
  for (const { count, source, page } of runs) builder.add(count, source, source === zeroSource ? 0 : page)
  return builder.finish()
}

const anyMap = fc
  .array(
    fc.record({
      count: fc.integer({ min: 1, max: 40 }),
      source: fc.integer({ min: zeroSource, max: layers - 1 }),
      page: fc.integer({ min: 0, max: 1000 }),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map(mapOf)

/** The memory file in up to four regions, which lie anywhere in the process, in any order. */
const regionsOf = (pages: number) =>
  fc
    .tuple(
      fc.uniqueArray(fc.integer({ min: 1, max: Math.max(1, pages - 1) }), { maxLength: 3 }),
      fc.shuffledSubarray([0x7000_0000_0000, 0x7100_0000_0000, 0x1_0000_0000, 0x7fff_0000_0000], {
        minLength: 4,
      }),
    )
    .map(([cuts, addresses]): MappedRegion[] => {
      const edges = [0, ...cuts.filter((cut) => cut < pages).sort((a, b) => a - b), pages]
      return edges.slice(1).map((end, index) => ({
        address: addresses[index] as number,
        firstPage: edges[index] as number,
        pages: end - (edges[index] as number),
      }))
    })

const mapAndRegions = anyMap.chain((map) =>
  fc.record({ map: fc.constant(map), regions: regionsOf(map.pages) }),
)

/**
 * What each page of the memory file is after the calls, as the kernel would have it:
 * `fd:offset`, `zero`, or `old`.
 */
function carryOut(table: SyscallTable, regions: readonly MappedRegion[]): string[] {
  const pages: string[] = []
  for (const region of regions) for (let i = 0; i < region.pages; i++) pages[region.firstPage + i] = 'old'
  for (const { number, args } of table.entries()) {
    if (number !== systemCall.mmap) continue
    const [address, length, protection, flags, fd, offset] = args as [
      number,
      number,
      number,
      number,
      number,
      number,
    ]
    expect(protection).toBe(3)
    // MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE
    expect(flags & ~0x20).toBe(0x4012)
    const region = regions.find((it) => address >= it.address && address < it.address + it.pages * pageBytes)
    if (region === undefined) throw new Error(`0x${address.toString(16)} is in no region`)
    const first = (address - region.address) / pageBytes
    const count = length / pageBytes
    expect(Number.isInteger(first) && Number.isInteger(count) && first + count <= region.pages).toBe(true)
    for (let i = 0; i < count; i++)
      pages[region.firstPage + first + i] = (flags & 0x20) !== 0 ? 'zero' : `${fd}:${offset / pageBytes + i}`
  }
  return pages
}

const expected = (map: ExtentMap, fdOf: (source: number) => number): string[] =>
  Array.from({ length: map.pages }, (_, page) => {
    const { source, storedPage } = lookupPage(map, page)
    return source === zeroSource ? 'zero' : `${fdOf(source)}:${storedPage}`
  })

describe('mapping an image', () => {
  test('puts every page of it where it belongs, whatever the regions', () => {
    fc.assert(
      fc.property(mapAndRegions, ({ map, regions }) => {
        const table = new SyscallTable()
        addZeroCalls(table, map, regions)
        addExtentCalls(table, map, regions, { first: 0, descriptors: [10, 11, 12, 13] })
        expect(carryOut(table, regions)).toEqual(expected(map, (source) => 10 + source))
      }),
    )
  })

  test('comes to the same when descriptors come a few at a time', () => {
    fc.assert(
      fc.property(mapAndRegions, fc.integer({ min: 1, max: layers }), ({ map, regions }, batch) => {
        const table = new SyscallTable()
        addZeroCalls(table, map, regions)
        for (let first = 0; first < layers; first += batch) {
          const descriptors = Array.from(
            { length: Math.min(batch, layers - first) },
            (_, i) => 10 + first + i,
          )
          addExtentCalls(table, map, regions, { first, descriptors })
        }
        expect(carryOut(table, regions)).toEqual(expected(map, (source) => 10 + source))
      }),
    )
  })

  test('takes no call for zero runs but one a region, and none where there are no zeros', () => {
    const regions = [
      { address: 0x1000_0000, firstPage: 0, pages: 100 },
      { address: 0x2000_0000, firstPage: 100, pages: 100 },
    ]
    const map = mapOf([
      { count: 10, source: 0, page: 0 },
      { count: 10, source: zeroSource, page: 0 },
      { count: 10, source: 0, page: 20 },
      { count: 20, source: zeroSource, page: 0 },
      { count: 150, source: 0, page: 50 },
    ])
    const table = new SyscallTable()
    addZeroCalls(table, map, regions)
    const anonymous = { number: systemCall.mmap, args: [0x1000_0000, 100 * pageBytes, 3, 0x4032, -1, 0] }
    const small = { number: systemCall.madvise, args: [0x1000_0000, 100 * pageBytes, 15, 0, 0, 0] }
    expect(table.entries()).toEqual([anonymous, small])
  })
})

describe('prefaulting', () => {
  const regions = [
    { address: 0x1000_0000, firstPage: 0, pages: 100 },
    { address: 0x2000_0000, firstPage: 100, pages: 100 },
  ]
  const set = (...pages: number[]): PageSet => pageSetFromPages(pages)
  const workingSet = {
    image: 'ab'.repeat(16),
    pages: 2000,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: set(1, 2, 3, 99, 600, 1500),
    written: set(4, 601, 1501),
    groups: [
      { atMs: 1, set: set(3, 4, 99) },
      { atMs: 2, set: set(1, 600) },
    ],
    notes: {},
  }

  const stepsOf = (set: WorkingSet) => prefaultSteps(set, prefaultOrder(set))

  test('goes by groups, neighbours along with them, then takes the rest; every page once, by its class', () => {
    const steps = stepsOf(workingSet)
    expect(steps.map(({ readOnly, written }) => [[...pagesOf(readOnly)], [...pagesOf(written)]])).toEqual([
      [[1, 2, 3, 99], [4]],
      [[600], [601]],
      [[1500], [1501]],
    ])
  })

  test('without groups is one step; of nothing, none', () => {
    expect(stepsOf({ ...workingSet, groups: [] })).toEqual([
      { readOnly: workingSet.readOnly, written: workingSet.written },
    ])
    expect(stepsOf({ ...workingSet, readOnly: emptyPageSet, written: emptyPageSet, groups: [] })).toEqual([])
  })

  const callsOf = (table: SyscallTable) =>
    table.entries().map(({ number, args }) => [number, ...args.slice(0, 3)])

  test('copies what was written, then reads what was read, cut where a region ends', () => {
    const table = new SyscallTable()
    addPrefaultCalls(table, { readOnly: pageRange(98, 4), written: set(4, 5) }, regions)
    expect(callsOf(table)).toEqual([
      [systemCall.madvise, 0x1000_0000 + 4 * pageBytes, 2 * pageBytes, 23],
      [systemCall.madvise, 0x1000_0000 + 98 * pageBytes, 2 * pageBytes, 22],
      [systemCall.madvise, 0x2000_0000, 2 * pageBytes, 22],
    ])
  })

  const advise = (address: number, pages: number, advice: number) => [
    systemCall.madvise,
    address,
    pages * pageBytes,
    advice,
  ]

  test('beside the guest reads nothing around what is asked for, and leaves memory as it was', () => {
    expect(callsOf(besideCalls([{ readOnly: set(7), written: set(9, 10) }], regions))).toEqual([
      advise(0x1000_0000, 100, 1),
      advise(0x2000_0000, 100, 1),
      advise(0x1000_0000 + 7 * pageBytes, 4, 3),
      advise(0x1000_0000 + 9 * pageBytes, 2, 23),
      advise(0x1000_0000 + 7 * pageBytes, 1, 22),
      advise(0x1000_0000, 100, 0),
      advise(0x2000_0000, 100, 0),
    ])
  })

  test('beside the guest asks before it waits, and brings every page once, whatever the set', () => {
    const one = [{ address: 0x1000_0000, firstPage: 0, pages: 20_000 }]
    const anySet = fc
      .uniqueArray(fc.nat(19_000), { maxLength: 400 })
      .map((pages) => pageSetFromPages(pages.flatMap((page) => [page, page + 1])))
    fc.assert(
      fc.property(anySet, anySet, (readOnly, either) => {
        const written = minus(either, readOnly)
        const asked = new Set<number>()
        const [read, copied] = [new Set<number>(), new Set<number>()]
        for (const { args } of besideCalls([{ readOnly, written }], one).entries()) {
          const [address = 0, length = 0, advice = 0] = args
          const first = (address - 0x1000_0000) / pageBytes
          for (let page = first; page < first + length / pageBytes; page++) {
            if (advice === 3) asked.add(page)
            if (advice < 22) continue
            expect(asked.has(page)).toBe(true)
            const brought = advice === 22 ? read : copied
            expect(brought.has(page)).toBe(false)
            brought.add(page)
          }
        }
        expect([...copied].sort((a, b) => a - b)).toEqual([...pagesOf(written)])
        for (const page of pagesOf(readOnly)) expect(read.has(page)).toBe(true)
      }),
    )
  })
})

describe('an image of too many runs', () => {
  test('keeps its pages in at most as many runs as are allowed, zeros of short runs from the file', () => {
    fc.assert(
      fc.property(anyMap, fc.integer({ min: 1, max: 20 }), (map, limit) => {
        const flat = flatMap(map, limit)
        expect(flat.starts.length).toBeLessThanOrEqual(limit)
        expect(flat.pages).toBe(map.pages)
        for (let page = 0; page < map.pages; page++) {
          const { source, storedPage } = lookupPage(flat, page)
          if (source === zeroSource) expect(lookupPage(map, page).source).toBe(zeroSource)
          else expect([source, storedPage]).toEqual([0, page])
        }
      }),
    )
  })

  test('keeps long runs of zeros without a file', () => {
    const map = mapOf([
      { count: 3, source: 0, page: 0 },
      { count: 3, source: zeroSource, page: 0 },
      { count: 3, source: 1, page: 0 },
      { count: 500, source: zeroSource, page: 0 },
      { count: 3, source: 2, page: 0 },
    ])
    const flat = flatMap(map, 3)
    expect([...flat.sources]).toEqual([0, zeroSource, 0])
    expect([...flat.counts]).toEqual([9, 500, 3])
  })
})

test('only layers that pages come from are opened, under new numbers', () => {
  const map = mapOf([
    { count: 2, source: 3, page: 7 },
    { count: 2, source: zeroSource, page: 0 },
    { count: 2, source: 1, page: 9 },
  ])
  const files = ['a', 'b', 'c', 'd'].map((path) => ({ path, storedPages: 100 }))
  const used = usedLayers(map, files)
  expect(used.layers.map(({ path }) => path)).toEqual(['b', 'd'])
  expect([...used.map.sources]).toEqual([1, zeroSource, 0])
  expect(() => usedLayers(map, files.slice(0, 2))).toThrow('names layer 3')
})

describe('regions', () => {
  const bytes = (page: number, pages: number, address = 0x1000_0000) => ({
    address,
    offsetBytes: page * pageBytes,
    lengthBytes: pages * pageBytes,
  })

  test('are complete when they cover the file, in whatever order they come', () => {
    const collector = new RegionCollector(100)
    collector.add(bytes(60, 40))
    expect(collector.complete).toBeUndefined()
    collector.add(bytes(0, 60, 0x2000_0000))
    expect(collector.complete).toEqual([
      { address: 0x2000_0000, firstPage: 0, pages: 60 },
      { address: 0x1000_0000, firstPage: 60, pages: 40 },
    ])
  })

  test.each([
    ['beyond the file', bytes(60, 41)],
    ['a part of a page', { ...bytes(0, 1), lengthBytes: 100 }],
    ['nothing', bytes(0, 0)],
    ['a page twice', bytes(9, 2)],
  ])('of %s are refused', (_what, region) => {
    const collector = new RegionCollector(100)
    collector.add(bytes(0, 10))
    expect(() => collector.add(region)).toThrow('in a way that is not known')
  })
})
