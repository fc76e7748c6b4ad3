import { expect, test } from 'vitest'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import { pageSetFromPages, pageSetFromRuns } from '../../memory/make-page-set.js'
import { emptyPageSet } from '../../memory/page-set.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { InstallResult } from '../../sys/userfaultfd.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import { Frames } from '../faults/frames.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { FramePrefetch, framesToFetch } from './frame-prefetch.js'
import { prefetchCounterNames } from './prefetch-loop.js'

const frame = 2 ** 21
// Frames: of layer 0, of zeros, of layer 1, of layer 1.
const map = extentMapFromJson({ pages: 2048, runs: [512, 0, 0, 512, -1, 0, 1024, 1, 0] }, [512, 1024])
const regions = [
  { address: 100 * frame, firstPage: 512, pages: 1536 },
  { address: 200 * frame, firstPage: 0, pages: 512 },
]
const set: WorkingSet = {
  image: '1'.repeat(32),
  pages: 2048,
  recordedAtMs: 0,
  windowMs: 1,
  readOnly: pageSetFromPages([3, 4, 600, 1100]),
  written: pageSetFromRuns([{ start: 1500, count: 100 }]),
  groups: [
    { atMs: 0, set: pageSetFromPages([1500]) },
    { atMs: 1, set: pageSetFromPages([4, 1501]) },
  ],
  notes: {},
}

function setUp({ halted = (): boolean => false, there = [] as number[], starves = false } = {}) {
  const calls: string[] = []
  const answers: InstallResult[] = []
  let held = false
  const counters = new Float64Array(prefetchCounterNames.length)
  const layers = [1, 2].map((address) => ({ address: address * 2 ** 30, lengthBytes: 1024 * pageSizeBytes }))
  const pagemap = {
    isPresent: (address: number) => there.includes(address / frame),
  }
  const prefetch = new FramePrefetch({
    ops: {
      copy: (address, _source, _offset, length) => {
        expect([held, length]).toEqual([true, frame])
        calls.push(`copy ${address / frame}`)
        const answer = answers.shift() ?? 'installed'
        if (answer === 'exists' && !starves) there.push(address / frame)
        return answer
      },
    },
    regions,
    layers,
    frames: new Frames({ map, layers, removed: new RemovedPages(2048), pagemap }),
    plan: framesToFetch(set, regions),
    counters,
    halted,
    pause: () => calls.push('pause'),
    gate: {
      beginCopy: () => {
        held = true
      },
      endCopy: () => {
        held = false
      },
    },
    bring: (address, length) =>
      calls.push(`bring ${(address % 2 ** 30) / pageSizeBytes} ${length / pageSizeBytes}`),
    yields: () => {},
  })
  const counts = () => Object.fromEntries(prefetchCounterNames.map((name, index) => [name, counters[index]]))
  return { prefetch, calls, answers, counts }
}

test('frames come in the order of the groups, each once, then the rest', () => {
  expect(framesToFetch(set, regions)).toEqual([1024, 0, 512, 1536])
  expect(
    framesToFetch({ ...set, readOnly: emptyPageSet, written: emptyPageSet, groups: [] }, regions),
  ).toEqual([])
  // Frames are counted from the begin of their region.
  expect(framesToFetch(set, [{ address: 0, firstPage: 1400, pages: 512 }])).toEqual([1400])
})

test('each frame that has a page of the set is brought whole', () => {
  const { prefetch, calls, counts } = setUp()
  expect(prefetch.run()).toBe(true)
  expect(calls).toEqual([
    'bring 0 512',
    'copy 101',
    'bring 0 512',
    'copy 200',
    'copy 100',
    'bring 512 512',
    'copy 102',
  ])
  expect(counts()).toMatchObject({
    plannedPages: 2048,
    copiedPages: 1536,
    zeroPages: 512,
    requests: 4,
    existingPages: 0,
  })
})

test('what is there is left; an event is waited for; what is gone is left out', () => {
  const { prefetch, calls, answers, counts } = setUp({ there: [101] })
  answers.push('again', 'installed', 'gone', 'exists')
  expect(prefetch.run()).toBe(true)
  expect(calls.filter((it) => !it.startsWith('bring'))).toEqual([
    'copy 200',
    'pause',
    'copy 200',
    'copy 100',
    'copy 102',
  ])
  expect(counts()).toMatchObject({ copiedPages: 512, zeroPages: 0, existingPages: 1024 })
})

test('it ends at the first frame for which the host has no huge page: the next one is for a fault', () => {
  const { prefetch, calls, answers, counts } = setUp({ starves: true })
  answers.push('installed', 'exists')
  expect(() => prefetch.run()).toThrow('no huge page')
  expect(calls.filter((it) => it.startsWith('copy'))).toEqual(['copy 101', 'copy 200'])
  expect(counts()).toMatchObject({ copiedPages: 512, existingPages: 0 })
})

test('a removal halts it before the next copy', () => {
  let looks = 0
  const { prefetch, calls } = setUp({ halted: () => ++looks > 3 })
  expect(prefetch.run()).toBe(false)
  expect(calls.filter((it) => it.startsWith('copy'))).toEqual(['copy 101'])
})
