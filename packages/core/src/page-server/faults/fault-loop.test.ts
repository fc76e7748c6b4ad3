import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ExtentMap, lookupPage } from '../../layer/extent-map.js'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { type PageBitmap, pageSetFromBitmap } from '../../memory/page-bitmap.js'
import { pagesOf } from '../../memory/page-set.js'
import { UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from '../../sys/abi.js'
import { mapAnonymous } from '../../sys/memory-map.js'
import {
  type CopySource,
  type InstallResult,
  maxMessages,
  type UserfaultEvents,
} from '../../sys/userfaultfd.js'
import type { RecordedFaults } from '../protocol/fault-record.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { counterNames } from './fault-counters.js'
import { FaultLoop } from './fault-loop.js'
import type { FaultOps } from './fault-loop-parts.js'
import { Frames } from './frames.js'

const page = 4096

type Event =
  | { readonly fault: number; readonly flags?: number }
  | { readonly remove: readonly [start: number, end: number] }

/**
 * Stands in for the kernel's side of one userfaultfd: events by the read, answers as told, everything noted.
 */
class RecordingOps implements FaultOps {
  readonly reads: Event[][] = []
  /** Answers to copy and zero in their order; `installed` once they are used up. */
  readonly answers: (InstallResult | { readonly zeroedBytes?: number; readonly copiedBytes?: number })[] = []
  readonly calls: string[] = []
  zeroedBytes = 0
  copiedBytes = 0

  removalPending(): boolean {
    return this.reads.some((events) => events.some((event) => 'remove' in event))
  }

  readEvents(to: UserfaultEvents) {
    const events = this.reads.shift() ?? []
    for (const event of events)
      if ('fault' in event) to.onPagefault(event.fault, event.flags ?? 0)
      else to.onRemove(...event.remove)
    return events.length
  }

  copy(address: number, source: CopySource, offset: number, length: number, protect: boolean): InstallResult {
    const from = source === zeros ? 'zeros' : `layer${source.address}`
    const how = protect ? ' protected' : ''
    this.calls.push(`copy ${address / page} ${from}[${offset / page}] ${length / page}${how}`)
    return this.#answer()
  }

  zero(address: number, length: number): InstallResult {
    this.calls.push(`zero ${address / page} ${length / page}`)
    return this.#answer()
  }

  wake(address: number, length: number): void {
    this.calls.push(`wake ${address / page} ${length / page}`)
  }

  reportWrites(address: number, length: number): void {
    this.calls.push(`report ${address / page} ${length / page}`)
  }

  writeProtect(address: number, length: number, on: boolean): InstallResult {
    this.calls.push(`${on ? 'protect' : 'allow'} ${address / page} ${length / page}`)
    return this.#answer()
  }

  #answer(): InstallResult {
    const answer = this.answers.shift() ?? 'installed'
    const { zeroedBytes = 0, copiedBytes = 0 } = typeof answer === 'object' ? answer : {}
    this.zeroedBytes = zeroedBytes
    this.copiedBytes = copiedBytes
    return typeof answer === 'object' ? 'again' : answer
  }
}

/** Pages 0–99 from layer 0, 100–1699 zero, 1700–1799 from layer 1 (its pages 7–106), 1800–1999 zero. */
const map = extentMapFromJson(
  { pages: 2000, runs: [100, 0, 0, 1600, -1, 0, 100, 1, 7, 200, -1, 0] },
  [2000, 107],
)
/** Two regions, apart in address space and in another order than in the image. */
const regions: readonly MappedRegion[] = [
  { address: 5_000 * page, firstPage: 1000, pages: 1000 },
  { address: 20_000 * page, firstPage: 0, pages: 1000 },
]

const zeros: CopySource = { address: 9, lengthBytes: page }

function setUp(parts: { map?: ExtentMap; regions?: readonly MappedRegion[]; around?: boolean } = {}) {
  const ops = new RecordingOps()
  const counters = new Float64Array(counterNames.length)
  const layers = [0, 1, 2].map((address) => ({ address, lengthBytes: 2000 * page }))
  const loop = new FaultLoop({
    ops,
    map,
    regions,
    layers,
    zeros,
    counters,
    around: false,
    removed: new RemovedPages(map.pages),
    ...parts,
  })
  const count = (name: (typeof counterNames)[number]) => counters[counterNames.indexOf(name)]
  const serve = (...reads: Event[][]) => {
    ops.reads.push(...reads)
    ops.calls.length = 0
    return loop.serve(16)
  }
  return { ops, loop, count, serve }
}
const fault = (pageAddress: number, flags = 0): Event => ({ fault: pageAddress * page, flags })
const write = UFFD_PAGEFAULT_FLAG_WRITE
const toProtected = UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP
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

describe('a turn', () => {
  test('reads once where a second read found nothing last time, and tries again in one of 16', () => {
    const { ops, serve } = setUp()
    const left = () => ops.reads.splice(0).length
    serve([fault(5_001)], [], [fault(5_002)])
    expect(left()).toBe(1)
    for (let turn = 1; turn < 16; turn++) {
      serve([fault(5_000 + 2 * turn)], [fault(5_001 + 2 * turn)])
      expect(left()).toBe(1)
    }
    serve([fault(5_100)], [fault(5_101)])
    expect(left()).toBe(0)
    serve([fault(5_102)], [fault(5_103)], [fault(5_104)])
    expect(left()).toBe(0)
  })

  test('reads on after as many events as one read can take, whatever it found last time', () => {
    const { ops, serve } = setUp()
    serve([fault(5_001)], [])
    const full = Array.from({ length: maxMessages }, (_, index) => fault(5_100 + index))
    serve(full, [fault(5_200)])
    expect(ops.reads).toEqual([])
  })
})

describe('the neighbours of a page', () => {
  test('come with it, from an aligned window, within its run of the image and its region', () => {
    const { ops, serve, count } = setUp({ around: true })
    serve([fault(20_042), fault(5_701), fault(5_799)])
    // Page 1701 of the image is the second of its run, which begins in the middle of a window.
    expect(ops.calls).toEqual(['copy 20040 layer0[40] 4', 'copy 5700 layer1[7] 4', 'copy 5796 layer1[103] 4'])
    expect(count('copiedPages')).toBe(12)
    expect(count('faults')).toBe(3)
  })

  test('stop at the end of a run that ends within the window', () => {
    const short = extentMapFromJson({ pages: 2000, runs: [6, 0, 0, 1, 1, 9, 1993, -1, 0] }, [6, 10])
    const { ops, serve } = setUp({ around: true, map: short })
    serve([fault(20_004)], [fault(20_006)])
    expect(ops.calls).toEqual(['copy 20004 layer0[4] 2', 'copy 20006 layer1[9] 1'])
  })

  test.each([
    { answer: 'exists' as const, copied: 1 },
    { answer: 'again' as const, copied: 1 },
    { answer: { copiedBytes: 2 * page }, copied: 3 },
  ])('that are there already leave the page to be copied alone: $answer', ({ answer, copied }) => {
    const { ops, serve, count } = setUp({ around: true })
    ops.answers.push(answer)
    serve([fault(20_042)])
    expect(ops.calls).toEqual(['copy 20040 layer0[40] 4', 'copy 20042 layer0[42] 1'])
    expect(count('copiedPages')).toBe(copied)
  })

  test('stay away while somebody records', () => {
    const { ops, loop, serve } = setUp({ around: true })
    loop.record(false)
    serve([fault(20_042)])
    expect(ops.calls).toEqual(['copy 20042 layer0[42] 1'])
  })

  test.each([
    { removed: [20_040, 20_041], copied: 'copy 20041 layer0[41] 3' },
    { removed: [20_040, 20_042], copied: 'copy 20042 layer0[42] 2' },
    { removed: [20_041, 20_042], copied: 'copy 20042 layer0[42] 2' },
    { removed: [20_043, 20_050], copied: 'copy 20040 layer0[40] 3' },
    { removed: [5_000, 5_001], copied: 'copy 20040 layer0[40] 4' },
  ] as const)('end where the guest gave memory back: $removed', ({ removed, copied }) => {
    const { ops, serve } = setUp({ around: true })
    serve([remove(removed[0], removed[1])], [fault(20_042)])
    expect(ops.calls).toEqual([copied])
  })

  test('on both sides of which the guest gave memory back are none', () => {
    const { ops, serve } = setUp({ around: true })
    serve([remove(20_041, 20_042), remove(20_043, 20_044)], [fault(20_042)])
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
  test('is zero from then on, with those behind it up to the end of what was removed', () => {
    const { ops, serve, count } = setUp()
    serve([remove(20_010, 20_012), fault(20_010), fault(20_011), fault(20_009), fault(20_012)])
    expect(ops.calls).toEqual([
      'zero 20010 2',
      'zero 20011 1',
      'copy 20009 layer0[9] 1',
      'copy 20012 layer0[12] 1',
    ])
    expect(count('removedPages')).toBe(2)
  })

  test('a range over regions and the space between marks just their pages', () => {
    const { ops, serve, count } = setUp()
    serve([remove(4_000, 20_001), fault(20_000), fault(20_001), fault(5_700)])
    // Image pages 1,700 to 1,999 were removed as the second region's end.
    expect(ops.calls).toEqual(['zero 20000 1', 'copy 20001 layer0[1] 1', 'zero 5700 300'])
    expect(count('removedPages')).toBe(1001)
  })

  test('comes with no more than 2 MiB of those behind it', () => {
    const image = extentMapFromJson({ pages: 2000, runs: [2000, 0, 0] }, [2000])
    const { ops, serve } = setUp({ map: image })
    serve([remove(20_000, 20_990)], [fault(20_100)], [fault(20_800)])
    expect(ops.calls).toEqual(['zero 20100 512', 'zero 20800 190'])
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
    firstPage: 1999 - 2 * index,
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

/** A recording as lists. */
function found(loop: FaultLoop) {
  const { pages, touched, written, wanted } = loop.recorded() ?? {}
  const list = (bitmap: typeof written) => bitmap && [...pagesOf(pageSetFromBitmap(bitmap))]
  return { order: [...(pages ?? [])], touched: list(touched), written: list(written), wanted: list(wanted) }
}

describe('a recording', () => {
  test('holds pages in fault order, zero pages one by one, until it is stopped', () => {
    const { loop, serve, ops } = setUp()
    serve([fault(20_005)])
    loop.record(false)
    expect(serve([fault(20_007), fault(20_100), fault(5_000, write), fault(20_001)])).toBe(false)
    expect(ops.calls).toEqual([
      'copy 20007 layer0[7] 1',
      'zero 20100 1',
      'zero 5000 1',
      'copy 20001 layer0[1] 1',
    ])
    expect(found(loop)).toEqual({
      order: [7, 100, 1000, 1],
      touched: [1, 7, 100, 1000],
      written: null,
      wanted: null,
    })
    loop.stopRecording()
    serve([fault(20_102)])
    expect(ops.calls).toEqual(['zero 20102 512'])
    expect(loop.recorded()).toBeUndefined()
  })

  test('its times do not fall, and lie within its window', () => {
    const { loop, serve } = setUp()
    loop.record(false)
    serve([fault(20_001)], [fault(20_002)])
    serve([fault(20_003)])
    const { timesUs = [], windowUs = -1 } = loop.recorded() ?? {}
    expect([...timesUs]).toEqual([...timesUs].sort((a, b) => a - b))
    expect(timesUs).toHaveLength(3)
    expect(timesUs[2]).toBeLessThanOrEqual(windowUs)
  })

  test('of writes protects what is there and what is read, and names each first write', () => {
    const { loop, serve, ops, count } = setUp()
    loop.record(true)
    expect(ops.calls).toEqual([
      'report 5000 1000',
      'report 20000 1000',
      'protect 5000 1000',
      'protect 20000 1000',
    ])
    serve([fault(20_007), fault(20_100), fault(20_008, write), fault(5_000, write)])
    expect(ops.calls).toEqual([
      'copy 20007 layer0[7] 1 protected',
      'copy 20100 zeros[0] 1 protected',
      'copy 20008 layer0[8] 1',
      'copy 5000 zeros[0] 1',
    ])
    serve([fault(20_007, toProtected), fault(20_050, toProtected)])
    expect(ops.calls).toEqual(['allow 20007 1', 'allow 20050 1'])
    expect(found(loop)).toEqual({
      order: [7, 100, 8, 1000],
      touched: [7, 8, 100, 1000],
      written: [7, 50],
      wanted: [8, 1000],
    })
    expect(count('faults')).toBe(4)
    expect(count('firstWrites')).toBe(2)
  })

  test('of writes begins anew with each period, and ends with everything allowed', () => {
    const { loop, serve, ops } = setUp()
    loop.record(true)
    serve([fault(20_007, write), fault(20_008)])
    ops.calls.length = 0
    loop.record(true)
    expect(ops.calls.slice(2)).toEqual(['protect 5000 1000', 'protect 20000 1000'])
    serve([fault(20_007, toProtected)])
    expect(found(loop)).toEqual({ order: [], touched: [], written: [7], wanted: [] })
    ops.calls.length = 0
    loop.stopRecording()
    expect(ops.calls).toEqual(['allow 5000 1000', 'allow 20000 1000'])
    // One that was on its way then.
    serve([fault(20_008, toProtected)])
    expect(ops.calls).toEqual(['allow 20008 1'])
  })

  test('a write that is met while memory is being protected belongs to the new period', () => {
    const { loop, ops } = setUp()
    loop.record(true)
    ops.answers.push('installed', 'again')
    ops.reads.push([fault(5_003, toProtected)])
    ops.calls.length = 0
    loop.record(true)
    expect(ops.calls.slice(2)).toEqual([
      'protect 5000 1000',
      'protect 20000 1000',
      'allow 5003 1',
      'protect 20000 1000',
    ])
    expect(found(loop).written).toEqual([1003])
  })

  test('a fault that must be tried again is tried as what it was', () => {
    const { loop, serve, ops } = setUp()
    loop.record(true)
    ops.answers.push('again', 'again', 'again')
    expect(serve([fault(20_001, write), fault(20_002), fault(20_003, toProtected)])).toBe(false)
    expect(ops.calls.slice(3)).toEqual([
      'copy 20001 layer0[1] 1',
      'copy 20002 layer0[2] 1 protected',
      'allow 20003 1',
    ])
  })

  test('memory that cannot be protected is refused, and not recorded wrongly', () => {
    const { loop, ops } = setUp()
    ops.answers.push('gone')
    expect(() => loop.record(true)).toThrow('cannot be protected as a whole')
    ops.answers.push(...Array<InstallResult>(1000).fill('again'))
    expect(() => loop.record(true)).toThrow('keeps changing')
  })
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
        { address: page, firstPage: cut, pages: pages - cut },
        { address: 100_000 * page, firstPage: 0, pages: cut },
      ].filter((it) => it.pages > 0)
      const { ops, serve } = setUp({ map: image, regions: two })
      for (const touch of touches) {
        const wanted = touch % pages
        const region = two.find(
          (it) => wanted >= it.firstPage && wanted < it.firstPage + it.pages,
        ) as MappedRegion
        const at = region.address / page + wanted - region.firstPage
        serve([fault(at)])
        const found = lookupPage(image, wanted)
        const length = Math.min(found.count, 512, region.firstPage + region.pages - wanted)
        expect(ops.calls).toEqual([
          found.source < 0
            ? `zero ${at} ${length}`
            : `copy ${at} layer${found.source}[${found.storedPage}] 1`,
        ])
      }
    }),
  )
})

describe('memory that comes in frames of 2 MiB', () => {
  const framePages = 512
  /** Frames: of layer 0 in a row; of zeros; of both. */
  const inFrames = extentMapFromJson(
    { pages: 1536, runs: [512, 0, 100, 512, -1, 0, 500, 1, 0, 12, -1, 0] },
    [2000, 2000],
  )
  const ofFrames: readonly MappedRegion[] = [{ address: 10_240 * page, firstPage: 0, pages: 1536 }]

  function framed(there = true) {
    const ops = new RecordingOps()
    const counters = new Float64Array(counterNames.length)
    // Read where frames are put together: memory that is there.
    const memory = mapAnonymous(2000 * page)
    const layers = [0, 1].map(() => ({ address: memory.address, lengthBytes: memory.lengthBytes }))
    const removed = new RemovedPages(inFrames.pages)
    const pagemap = {
      isPresent: () => there,
    }
    const frames = new Frames({ map: inFrames, layers, removed, pagemap })
    const loop = new FaultLoop({
      ...{ ops, map: inFrames, regions: ofFrames, layers, zeros, counters, around: true, removed, frames },
    })
    const count = (name: (typeof counterNames)[number]) => counters[counterNames.indexOf(name)]
    const serve = (...events: Event[]) => {
      ops.reads.push(events)
      ops.calls.length = 0
      const again = loop.serve(16)
      return { again, calls: ops.calls.map((call) => call.replace(/layer\d+\[/, 'memory[')) }
    }
    return { ops, loop, count, serve, [Symbol.dispose]: () => memory[Symbol.dispose]() }
  }

  test('is copied frame by frame, zeros too', () => {
    using it = framed()
    expect(it.serve(fault(10_240)).calls).toEqual(['copy 10240 memory[100] 512'])
    expect(it.serve(fault(10_752)).calls).toEqual(['copy 10752 memory[0] 512'])
    expect(it.serve(fault(11_264)).calls).toEqual(['copy 11264 memory[0] 512'])
    expect([it.count('faults'), it.count('copiedPages'), it.count('zeroCalls')]).toEqual([
      3,
      3 * framePages,
      0,
    ])
  })

  test('that is there already wakes the waiting thread; behind an event it is tried again', () => {
    using it = framed()
    it.ops.answers.push('exists')
    expect(it.serve(fault(10_752)).calls).toEqual(['copy 10752 memory[0] 512', 'wake 10752 1'])
    it.ops.answers.push('again')
    expect(it.serve(fault(10_752))).toEqual({
      again: false,
      calls: Array(2).fill('copy 10752 memory[0] 512'),
    })
  })

  test('for which the host has no huge page is tried again, and its waiter sleeps on', () => {
    using it = framed(false)
    it.ops.answers.push('exists', 'exists')
    expect(it.serve(fault(10_752))).toEqual({ again: true, calls: Array(2).fill('copy 10752 memory[0] 512') })
    expect(it.serve()).toEqual({ again: false, calls: ['copy 10752 memory[0] 512'] })
  })

  test('is recorded as whole frames, and a write to a protected one only as wanted', () => {
    using it = framed()
    it.loop.record(true)
    expect(it.serve(fault(10_240)).calls).toEqual(['copy 10240 memory[100] 512 protected'])
    expect(it.serve(fault(10_752, write)).calls).toEqual(['copy 10752 memory[0] 512'])
    expect(it.serve(fault(10_240, toProtected)).calls).toEqual(['allow 10240 512'])
    const { touched, written, wanted, pages } = it.loop.recorded() as RecordedFaults
    const all = Array.from({ length: 1024 }, (_, index) => index)
    expect([...pagesOf(pageSetFromBitmap(touched))]).toEqual(all)
    expect([...pages]).toEqual(all)
    expect(pageSetFromBitmap(written as PageBitmap).pages).toBe(0)
    expect([...pagesOf(pageSetFromBitmap(wanted as PageBitmap))]).toEqual(all)
  })
})
