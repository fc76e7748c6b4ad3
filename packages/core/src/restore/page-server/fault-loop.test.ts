import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ExtentMap, lookupPage } from '../../layer/extent-map.js'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import type { CopySource, InstallResult } from '../../sys/userfaultfd.js'
import { counterNames, FaultLoop, type FaultOps } from './fault-loop.js'
import type { ServedRegion } from './handshake.js'

const page = 4096

type Event = { readonly fault: number } | { readonly remove: readonly [start: number, end: number] }

/** Stands in for the kernel's side of one userfaultfd: events by the read, answers as told, everything noted. */
class RecordingOps implements FaultOps {
  readonly reads: Event[][] = []
  /** Answers to copy and zero in their order; `installed` once they are used up. */
  readonly answers: (InstallResult | { readonly zeroedBytes: number })[] = []
  readonly calls: string[] = []
  zeroedBytes = 0

  readEvents(
    onPagefault: (address: number, flags: number) => void,
    onRemove: (a: number, b: number) => void,
  ) {
    const events = this.reads.shift() ?? []
    for (const event of events)
      if ('fault' in event) onPagefault(event.fault, 0)
      else onRemove(...event.remove)
    return events.length
  }

  copy(address: number, source: CopySource, offset: number, length: number): InstallResult {
    this.calls.push(`copy ${address / page} layer${source.address}[${offset / page}] ${length / page}`)
    return this.#answer()
  }

  zero(address: number, length: number): InstallResult {
    this.calls.push(`zero ${address / page} ${length / page}`)
    return this.#answer()
  }

  wake(address: number, length: number): void {
    this.calls.push(`wake ${address / page} ${length / page}`)
  }

  #answer(): InstallResult {
    const answer = this.answers.shift() ?? 'installed'
    this.zeroedBytes = typeof answer === 'object' ? answer.zeroedBytes : 0
    return typeof answer === 'object' ? 'again' : answer
  }
}

/** Pages 0–99 from layer 0, 100–1699 zero, 1700–1799 from layer 1 (its pages 7–106), 1800–1999 zero. */
const map = extentMapFromJson(
  { pages: 2000, runs: [100, 0, 0, 1600, -1, 0, 100, 1, 7, 200, -1, 0] },
  [2000, 107],
)
/** Two regions, apart in address space and in another order than in the image. */
const regions: readonly ServedRegion[] = [
  { address: 5_000 * page, startPage: 1000, pages: 1000 },
  { address: 20_000 * page, startPage: 0, pages: 1000 },
]

function setUp(parts: { map?: ExtentMap; regions?: readonly ServedRegion[]; trace?: number } = {}) {
  const ops = new RecordingOps()
  const counters = new Float64Array(counterNames.length)
  const trace = new Uint32Array(parts.trace ?? 8)
  const layers = [0, 1, 2].map((address) => ({ address, lengthBytes: 2000 * page }))
  const loop = new FaultLoop({ ops, map, regions, layers, counters, ...parts, trace })
  const count = (name: (typeof counterNames)[number]) => counters[counterNames.indexOf(name)]
  const serve = (...reads: Event[][]) => {
    ops.reads.push(...reads)
    ops.calls.length = 0
    return loop.serve()
  }
  return { ops, count, trace, serve }
}
const fault = (pageAddress: number): Event => ({ fault: pageAddress * page })
const remove = (first: number, end: number): Event => ({ remove: [first * page, end * page] })

describe('a page of a layer', () => {
  test('is copied from its place in that layer, whatever the order of the regions', () => {
    const { ops, serve, count } = setUp()
    expect(serve([fault(20_042)], [fault(5_700), fault(5_799)])).toBe(false)
    expect(ops.calls).toEqual(['copy 20042 layer0[42] 1', 'copy 5700 layer1[7] 1', 'copy 5799 layer1[106] 1'])
    expect(count('faults')).toBe(3)
    expect(count('copiedPages')).toBe(3)
  })

  test('an address within a page stands for the page', () => {
    const { ops, serve } = setUp()
    serve([{ fault: 20_042 * page + 4095 }])
    expect(ops.calls).toEqual(['copy 20042 layer0[42] 1'])
  })
})

describe('a zero run', () => {
  test('is installed from the fault on, clipped to 2 MiB', () => {
    const { ops, serve, count } = setUp()
    serve([fault(20_100)])
    expect(ops.calls).toEqual(['zero 20100 512'])
    expect(count('zeroCalls')).toBe(1)
  })

  test('is clipped to the run', () => {
    const { ops, serve } = setUp()
    serve([fault(5_690), fault(5_850)])
    expect(ops.calls).toEqual(['zero 5690 10', 'zero 5850 150'])
  })

  test('is clipped to the region', () => {
    const { ops, serve } = setUp()
    serve([fault(20_900)])
    expect(ops.calls).toEqual(['zero 20900 100'])
  })

  test('that stops at a page already there has served its fault', () => {
    const { ops, serve, count } = setUp()
    ops.answers.push({ zeroedBytes: 3 * page })
    expect(serve([fault(20_100)])).toBe(false)
    expect(ops.calls).toEqual(['zero 20100 512'])
    expect(count('retries')).toBe(0)
  })

  test('that reaches into memory no longer registered is served as far as its first page', () => {
    const { ops, serve, count } = setUp()
    ops.answers.push('gone')
    expect(serve([fault(20_100)])).toBe(false)
    expect(ops.calls).toEqual(['zero 20100 512', 'zero 20100 1'])
    expect(count('zeroCalls')).toBe(2)
  })

  test('whose first page is no longer registered either is forgotten', () => {
    const { ops, serve } = setUp()
    ops.answers.push('gone', 'gone')
    expect(serve([fault(20_100)])).toBe(false)
    expect(ops.calls).toEqual(['zero 20100 512', 'zero 20100 1'])
  })

  test('whose first page alone must be tried again is put off', () => {
    const { ops, serve } = setUp()
    ops.answers.push('gone', 'again', 'again')
    expect(serve([fault(20_100)])).toBe(true)
    expect(serve()).toBe(false)
    expect(ops.calls).toEqual(['zero 20100 512'])
  })

  test('whose first page is there already wakes who waits', () => {
    const { ops, serve } = setUp()
    ops.answers.push('exists')
    expect(serve([fault(20_100)])).toBe(false)
    expect(ops.calls).toEqual(['zero 20100 512', 'wake 20100 1'])
  })
})

describe('a removed page', () => {
  test('is zero from then on, alone and up to the end of what was removed', () => {
    const { ops, serve, count } = setUp()
    serve([remove(20_010, 20_012), fault(20_010), fault(20_011), fault(20_009), fault(20_012)])
    expect(ops.calls).toEqual([
      'zero 20010 1',
      'zero 20011 1',
      'copy 20009 layer0[9] 1',
      'copy 20012 layer0[12] 1',
    ])
    expect(count('removedPages')).toBe(2)
  })

  test('a range over regions and the space between marks just their pages', () => {
    const { ops, serve, count } = setUp()
    serve([remove(4_000, 20_001), fault(20_000), fault(20_001), fault(5_700)])
    expect(ops.calls).toEqual(['zero 20000 1', 'copy 20001 layer0[1] 1', 'zero 5700 1'])
    expect(count('removedPages')).toBe(1001)
  })
})

describe('what the kernel answers', () => {
  test('EEXIST wakes the page and is done', () => {
    const { ops, serve, count } = setUp()
    ops.answers.push('exists')
    expect(serve([fault(20_001)])).toBe(false)
    expect(ops.calls).toEqual(['copy 20001 layer0[1] 1', 'wake 20001 1'])
    expect(count('existing')).toBe(1)
    expect(count('copiedPages')).toBe(0)
  })

  test('a page that nobody waits for any more is forgotten', () => {
    const { ops, serve } = setUp()
    ops.answers.push('gone')
    expect(serve([fault(20_001)])).toBe(false)
    expect(ops.calls).toHaveLength(1)
  })

  test('EAGAIN reads all events first; a page removed by them comes back zero', () => {
    const { ops, serve, count } = setUp()
    ops.answers.push('again')
    expect(serve([fault(20_001)], [remove(20_001, 20_002)])).toBe(false)
    expect(ops.calls).toEqual(['copy 20001 layer0[1] 1', 'zero 20001 1'])
    expect(count('retries')).toBe(1)
    expect(count('faults')).toBe(1)
  })

  test('EAGAIN again and again keeps each fault, in order, until it is served', () => {
    const { ops, serve, count } = setUp()
    ops.answers.push('again', 'again', 'again', 'again', 'installed', 'again')
    expect(serve([fault(20_001), fault(20_002), fault(20_003)])).toBe(true)
    expect(ops.calls.slice(3)).toEqual([1, 2, 3].map((it) => `copy ${20_000 + it} layer0[${it}] 1`))
    // The first and the third were put off once more.
    expect(serve()).toBe(false)
    expect(ops.calls).toEqual([1, 3].map((it) => `copy ${20_000 + it} layer0[${it}] 1`))
    expect(serve()).toBe(false)
    expect(ops.calls).toEqual([])
    expect(count('copiedPages')).toBe(3)
  })

  test('a fault that was put off is served although others never stop coming', () => {
    const { ops, serve } = setUp()
    ops.answers.push('again')
    const endless = Array.from({ length: 10_000 }, () => [fault(20_002)])
    serve([fault(20_001)], ...endless)
    expect(ops.calls.filter((call) => call === 'copy 20001 layer0[1] 1')).toHaveLength(2)
    // The rest is left to the next turn, so that a request to stop is seen between.
    expect(ops.reads.length).toBeGreaterThan(9_000)
  })

  test('more put-off faults than any VMM has threads is an error', () => {
    const { ops, serve } = setUp()
    ops.answers.push(...Array<InstallResult>(4097).fill('again'))
    expect(() => serve(Array.from({ length: 4097 }, () => fault(20_001)))).toThrow('more than 4096 faults')
  })

  test.each([4_999, 6_000, 19_999, 21_000])('a fault at page address %i is outside every region', (at) => {
    const { serve } = setUp()
    expect(() => serve([fault(at)])).toThrow('outside every region')
  })
})

test('each of many regions is found, and the spaces between them are not', () => {
  const many = Array.from({ length: 1000 }, (_, index) => ({
    address: (10 + 3 * index) * page,
    startPage: 1999 - 2 * index,
    pages: 1,
  }))
  const image = extentMapFromJson({ pages: 2000, runs: [2000, 0, 0] }, [2000])
  const { ops, serve } = setUp({ map: image, regions: many })
  for (let index = 0; index < many.length; index++) {
    serve([fault(10 + 3 * index)])
    expect(ops.calls).toEqual([`copy ${10 + 3 * index} layer0[${1999 - 2 * index}] 1`])
    expect(() => serve([fault(11 + 3 * index)])).toThrow('outside every region')
    expect(() => serve([fault(9 + 3 * index)])).toThrow('outside every region')
  }
})

test('the trace holds pages in fault order and stops when it is full', () => {
  const { serve, trace, count } = setUp({ trace: 3 })
  serve([fault(20_005), fault(5_000), fault(20_001), fault(20_002)])
  expect([...trace]).toEqual([5, 1000, 1])
  expect(count('traced')).toBe(3)
  expect(count('faults')).toBe(4)
})

test('any fault in any image is answered with that page, and with nothing outside its run and region', () => {
  const runs = fc.array(
    fc.record({ count: fc.integer({ min: 1, max: 700 }), source: fc.integer({ min: -1, max: 2 }) }),
    {
      minLength: 1,
      maxLength: 12,
    },
  )
  fc.assert(
    fc.property(runs, fc.array(fc.nat()), fc.nat(), (parts, touches, split) => {
      const pages = parts.reduce((sum, { count }) => sum + count, 0)
      const image = extentMapFromJson(
        { pages, runs: parts.flatMap(({ count, source }, i) => [count, source, source < 0 ? 0 : i]) },
        [9000, 9000, 9000],
      )
      const cut = split % pages
      const two = [
        { address: page, startPage: cut, pages: pages - cut },
        { address: 100_000 * page, startPage: 0, pages: cut },
      ].filter((it) => it.pages > 0)
      const { ops, serve } = setUp({ map: image, regions: two })
      for (const touch of touches) {
        const wanted = touch % pages
        const region = two.find(
          (it) => wanted >= it.startPage && wanted < it.startPage + it.pages,
        ) as ServedRegion
        const at = region.address / page + wanted - region.startPage
        serve([fault(at)])
        const found = lookupPage(image, wanted)
        const length = Math.min(found.count, 512, region.startPage + region.pages - wanted)
        expect(ops.calls).toEqual([
          found.source < 0
            ? `zero ${at} ${length}`
            : `copy ${at} layer${found.source}[${found.sourcePage}] 1`,
        ])
      }
    }),
  )
})
