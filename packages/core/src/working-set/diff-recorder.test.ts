import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { zeroMap } from '../layer/compose-extent-map.js'
import { type PageSet, pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { recordDiff } from './diff-recorder.js'
import type { DiffSource } from './recording.js'

const pages = 64
const vmm = processIdentity(process.pid) as ProcessIdentity
const files = [{ path: '/unused', storedPages: pages }]

let directory: string
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-diff-test-')
})
afterEach(() => rmSync(directory, { recursive: true }))

type Asked = Parameters<DiffSource['takeDiff']>[0]

/**
 * Writes a Diff as Firecracker does: data where a page was written, holes elsewhere. The
 * real one: scenario ground-truth.
 */
class Writer implements DiffSource {
  dirtyTracking = true
  snapshotsTaken = 2
  readonly asked: Asked[] = []
  readonly written: ReadonlyMap<number, number>

  constructor(written: ReadonlyMap<number, number>) {
    this.written = written
  }

  async takeDiff(options: Asked): Promise<void> {
    this.asked.push(options)
    writeFileSync(options.statePath, 'state')
    const fd = openSync(options.memoryPath, 'wx')
    ftruncateSync(fd, pages * pageSizeBytes)
    for (const [page, byte] of this.written)
      writeSync(fd, Buffer.alloc(pageSizeBytes, byte), 0, pageSizeBytes, page * pageSizeBytes)
    closeSync(fd)
  }
}

const list = (set: PageSet | null): number[] => [...pagesOf(set as PageSet)]

test('pages of the Diff were written, also those that are zero now; it is taken once, at the end, and removed', async () => {
  const machine = new Writer(
    new Map([
      [3, 1],
      [4, 0],
      [60, 9],
    ]),
  )
  await using recording = await recordDiff({ vmm, files, machine }, { directory })
  await recording.scan()
  expect(machine.asked).toEqual([])
  const recorded = await recording.stop()
  expect(list(recorded.written)).toEqual([3, 4, 60])
  expect(recorded).toMatchObject({
    recorder: 'diff',
    present: null,
    groups: [],
    exact: { present: false, written: true },
    endedBy: 'stop',
  })
  expect(machine.asked).toMatchObject([{ ifTaken: 2 }])
  expect(readdirSync(directory)).toEqual([])
})

test('ends itself in time, with a Diff of that moment', async () => {
  const machine = new Writer(new Map([[5, 1]]))
  await using recording = await recordDiff({ vmm, files, machine }, { directory, maxMs: 10 })
  while (recording.endedBy === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
  expect(machine.asked.length).toBe(1)
  expect(list((await recording.stop()).written)).toEqual([5])
  expect(machine.asked.length).toBe(1)
})

test('does not call itself exact where a page server brought the memory', async () => {
  const machine = new Writer(new Map())
  await using recording = await recordDiff({ vmm, files, map: zeroMap(pages), machine }, { directory })
  expect((await recording.stop()).exact.written).toBe(false)
})

test('a Diff that fails leaves nothing behind', async () => {
  const machine = new Writer(new Map())
  const refused = new VarveError('IMAGE_MISMATCH', 'another has taken one')
  let memoryPath = ''
  machine.takeDiff = async (options) => {
    memoryPath = options.memoryPath
    writeFileSync(memoryPath, 'half')
    throw refused
  }
  await using recording = await recordDiff({ vmm, files, machine }, { directory })
  await expect(recording.stop()).rejects.toBe(refused)
  expect(memoryPath.startsWith(directory)).toBe(true)
  expect(existsSync(memoryPath)).toBe(false)
  expect(readdirSync(directory)).toEqual([])
})

test('refuses where it could not tell, and disposing takes no Diff', async () => {
  const machine = new Writer(new Map())
  machine.dirtyTracking = false
  await using recording = await recordDiff({ vmm, files, machine }, { directory })
  await expect(recording.stop()).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
  await expect(recordDiff({ vmm, files })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const signal = AbortSignal.abort()
  await expect(recordDiff({ vmm, files, machine }, { signal })).rejects.toMatchObject({ code: 'INTERRUPTED' })
  const disposed = await recordDiff({ vmm, files, machine }, { directory })
  await disposed[Symbol.asyncDispose]()
  expect(machine.asked).toEqual([])
})
