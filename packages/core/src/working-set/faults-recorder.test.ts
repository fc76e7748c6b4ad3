import { expect, test } from 'vitest'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { emptyPageSet } from '../memory/page-set.js'
import { type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { recordFaults } from './faults-recorder.js'
import type { AfterRecorded, FaultSource, FaultTrace, RecordTarget } from './recording.js'

const pages = 1000

/** A page server as the recorder sees it; what it recorded is told. */
function setUp(changes: Partial<FaultTrace> = {}) {
  const next: (AfterRecorded | undefined)[] = []
  let trace: FaultTrace = {
    pages: new Uint32Array(),
    timesUs: new Uint32Array(),
    truncated: false,
    windowMs: 1,
    touched: emptyPageSet,
    unitPages: 1,
    written: emptyPageSet,
    unchanged: emptyPageSet,
    ...changes,
  }
  const faults: FaultSource = {
    record: async () => ({ fromTheFirst: true }),
    recorded: async (options) => {
      next.push(options?.next)
      return trace
    },
  }
  const target: RecordTarget = {
    vmm: processIdentity(process.pid) as ProcessIdentity,
    files: [{ path: '/no/such/file', storedPages: pages }],
    faults,
  }
  const faulted = (list: readonly [page: number, ms: number][], more: Partial<FaultTrace> = {}) => {
    trace = {
      ...trace,
      pages: Uint32Array.from(list, ([page]) => page),
      timesUs: Uint32Array.from(list, ([, ms]) => ms * 1000 + 999),
      touched: pageSetFromPages(list.map(([page]) => page)),
      ...more,
    }
  }
  return { next, target, faulted }
}

test('groups are of so many pages in the order of their faults, with the time of the first, over several looks', async () => {
  const { next, target, faulted } = setUp()
  await using recording = await recordFaults(target, { rssGrowthPages: 2 })
  faulted([
    [9, 1],
    [3, 2],
    [5, 7],
  ])
  await recording.scan()
  faulted([
    [9, 1],
    [3, 2],
    [5, 7],
    [4, 30],
    [700, 31],
  ])
  const { present, written, groups, exact, notes } = await recording.stop()
  expect(groups).toEqual([
    { atMs: 1, set: pageSetFromPages([3, 9]) },
    { atMs: 7, set: pageSetFromPages([5]) },
    { atMs: 30, set: pageSetFromPages([4, 700]) },
  ])
  expect(present).toEqual(pageSetFromPages([3, 4, 5, 9, 700]))
  expect(written).toEqual(emptyPageSet)
  expect(exact).toEqual({ present: true, written: true })
  expect(notes).toEqual({ faults: { fromTheFirst: true, unchanged: 0, ordered: 5 } })
  expect(next).toEqual(['go-on', 'stop'])
})

test('three phases a second apart are three groups, however few pages each touches', async () => {
  const { target, faulted } = setUp()
  await using recording = await recordFaults(target)
  const phase = (first: number, ms: number) =>
    Array.from({ length: 30 }, (_, index) => [first + index, ms + index] as [page: number, ms: number])
  faulted([...phase(100, 1), ...phase(300, 1001), ...phase(200, 2001)])
  expect((await recording.stop()).groups).toEqual([
    { atMs: 1, set: pageRange(100, 30) },
    { atMs: 1001, set: pageRange(300, 30) },
    { atMs: 2001, set: pageRange(200, 30) },
  ])
})

test('a pause of 50 ms ends a group, a shorter one does not; after it 1,024 pages count anew', async () => {
  const { target, faulted } = setUp()
  await using recording = await recordFaults(target, { rssGrowthPages: 3 })
  faulted([
    [1, 0],
    [2, 49],
    [3, 99],
    [4, 100],
    [5, 101],
    [6, 102],
  ])
  expect((await recording.stop()).groups).toEqual([
    { atMs: 0, set: pageRange(1, 2) },
    { atMs: 99, set: pageRange(3, 3) },
    { atMs: 102, set: pageRange(6, 1) },
  ])
})

test('pages that were there before they were written, or come behind the end of the trace, are present too', async () => {
  const { target, faulted } = setUp()
  await using recording = await recordFaults(target)
  faulted([[9, 1]], {
    truncated: true,
    touched: pageSetFromPages([9, 10]),
    written: pageSetFromPages([10, 20]),
    unchanged: pageSetFromPages([9]),
  })
  const { present, written, groups, exact } = await recording.stop()
  expect(present).toEqual(pageSetFromPages([9, 10, 20]))
  expect(written).toEqual(pageSetFromPages([10, 20]))
  expect(groups.map(({ set }) => set)).toEqual([pageSetFromPages([9]), pageSetFromPages([10, 20])])
  expect(exact).toEqual({ present: true, written: false })
})

test('of huge pages it is not exact, and says how many pages come together', async () => {
  const { target, faulted } = setUp()
  await using recording = await recordFaults(target)
  faulted([[9, 1]], { unitPages: 512 })
  const { exact, notes } = await recording.stop()
  expect(exact.present).toBe(false)
  expect(notes).toMatchObject({ faults: { unitPages: 512 } })
})

test('without writes it does not tell them; disposed, it ends the recording of the server', async () => {
  const { next, target } = setUp({ written: null, unchanged: null })
  const recording = await recordFaults(target, { writes: false })
  const { written, exact } = await recording.stop()
  expect({ written, exact }).toEqual({ written: null, exact: { present: true, written: false } })
  await recording[Symbol.asyncDispose]()
  expect(next).toEqual(['stop'])
  const other = await recordFaults(target)
  await other[Symbol.asyncDispose]()
  expect(next).toEqual(['stop', 'stop'])
})

test('a VM without a page server is refused', async () => {
  const { target } = setUp()
  await expect(recordFaults({ ...target, faults: undefined })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
})

test('a VM that ended with its page server is named as the reason', async () => {
  const { target } = setUp()
  const vmm = { pid: process.pid, startTime: 1 }
  const faults: FaultSource = {
    record: async () => ({ fromTheFirst: true }),
    recorded: async () => {
      throw new Error('nobody answers')
    },
  }
  // Alive when it begins; the identity of no process afterwards.
  let looks = 0
  const dying = {
    get startTime() {
      return looks++ === 0 ? target.vmm.startTime : vmm.startTime
    },
    pid: process.pid,
  }
  const recording = await recordFaults({ ...target, vmm: dying, faults })
  await expect(recording.stop()).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
})
