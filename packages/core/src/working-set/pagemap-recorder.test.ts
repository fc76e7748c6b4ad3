import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import koffi from 'koffi'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { zeroMap } from '../layer/compose-extent-map.js'
import type { LayerFile } from '../layer/layer-types.js'
import { type PageSet, pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { dropPageCache } from '../sys/fadvise.js'
import { openDescriptors, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { recordPagemap } from './pagemap-recorder.js'
import type { RecordedPages } from './recording.js'

// This process stands in for the VMM: it maps a file as Firecracker maps a memory file, in two regions.
const pages = 128
const half = pages / 2
const PROT_READ_WRITE = 3
const MAP_PRIVATE = 2
const MADV_RANDOM = 1

const libc = koffi.load(null)
const mmap = libc.func(
  'uint64_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
)
const munmap = libc.func('int munmap(uint64_t address, size_t length)')
const madvise = libc.func('int madvise(uint64_t address, size_t length, int advice)')
const read = libc.func('uint64_t memcpy(uint8_t *to, uint64_t from, size_t count)')
const write = libc.func('uint64_t memcpy(uint64_t to, uint8_t *from, size_t count)')

const vmm = processIdentity(process.pid) as ProcessIdentity
/** This process grows as it likes; only asked-for looks are wanted here. */
const quiet = { rssGrowthPages: 2 ** 30 }

let directory: string
let file: LayerFile
let regions: number[]
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-pagemap-')
  file = { path: join(directory, 'memory'), storedPages: pages }
  // A footer behind the image, as a base layer has.
  writeFileSync(file.path, Buffer.alloc((pages + 1) * pageSizeBytes, 7))
  regions = []
})
afterEach(() => {
  for (const address of regions) munmap(address, half * pageSizeBytes)
  rmSync(directory, { recursive: true })
})

/**
 * Maps the file; the upper half first, so that the order of addresses is likely
 * another than that of the file.
 */
function load(): void {
  const fd = openSync(file.path, 'r')
  dropPageCache(fd)
  for (const part of [1, 0]) {
    const bytes = half * pageSizeBytes
    regions[part] = Number(mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE, fd, part * bytes))
    expect(madvise(regions[part], bytes, MADV_RANDOM)).toBe(0)
  }
  closeSync(fd)
}

const one = Buffer.alloc(1, 1)
const addressOf = (page: number) =>
  (regions[Math.floor(page / half)] as number) + (page % half) * pageSizeBytes
const readPages = (...list: number[]) => {
  for (const page of list) read(one, addressOf(page), 1)
}
const writePages = (...list: number[]) => {
  for (const page of list) write(addressOf(page), one, 1)
}

const list = (set: PageSet | null): number[] => [...pagesOf(set as PageSet)]
const groupLists = ({ groups }: RecordedPages): number[][] => groups.map(({ set }) => list(set))

test('a page of the file was read, a private copy written, from before the file is mapped on', async () => {
  await using recording = await recordPagemap({ vmm, files: [file] }, quiet)
  await recording.scan()
  load()
  readPages(3, 70, 127)
  await recording.scan()
  readPages(20)
  writePages(70, 21, 64)
  const recorded = await recording.stop()
  expect(groupLists(recorded)).toEqual([
    [3, 70, 127],
    [20, 21, 64],
  ])
  expect(list(recorded.present)).toEqual([3, 20, 21, 64, 70, 127])
  expect(list(recorded.written)).toEqual([21, 64, 70])
  expect(recorded).toMatchObject({ recorder: 'pagemap', exact: { written: true }, endedBy: 'stop' })
})

test('one that begins later sees what was touched since the load, as its first group', async () => {
  load()
  readPages(5)
  writePages(80)
  await using recording = await recordPagemap({ vmm, files: [file] }, quiet)
  readPages(6)
  const recorded = await recording.stop()
  expect(groupLists(recorded)).toEqual([[5, 80], [6]])
  expect(list(recorded.written)).toEqual([80])
  // However many were mapped around page 5 before, nothing could have prevented that.
  expect(recorded.exact.present).toBe(false)
})

test('says how many pages too many there can be where reads map around', async () => {
  load()
  // In the page cache, and without the advice, the kernel maps around a read.
  const fd = openSync(file.path, 'r')
  readSync(fd, Buffer.alloc(pages * pageSizeBytes), 0, pages * pageSizeBytes, 0)
  closeSync(fd)
  for (const address of regions) madvise(address, half * pageSizeBytes, 0)
  await using recording = await recordPagemap({ vmm, files: [file] }, { ...quiet, holdFaultAround: false })
  readPages(8, 90)
  writePages(9)
  const { present, written, exact, notes } = await recording.stop()
  expect(exact).toEqual({ present: false, written: true })
  expect(list(written)).toEqual([9])
  const found = present?.pages as number
  expect(found).toBeGreaterThan(3)
  const { tooManyAtMost, ...rest } = notes.faultAround as { tooManyAtMost: number }
  expect(rest).toEqual({ bytes: 65_536, held: false, reason: expect.stringContaining('as asked for') })
  // Really too many are all but the three; the bound holds that, and not everything.
  expect(tooManyAtMost).toBeGreaterThanOrEqual(found - 3)
  expect(tooManyAtMost).toBeLessThan(found)
})

test('refuses where it could not tell', async () => {
  const unreliable = { code: 'RECORDER_UNRELIABLE' }
  await expect(recordPagemap({ vmm, files: [file], map: zeroMap(pages) })).rejects.toMatchObject(unreliable)
  // Not mapped at the end: the VM's memory comes from somewhere else.
  await using recording = await recordPagemap({ vmm, files: [file] }, quiet)
  await expect(recording.stop()).rejects.toMatchObject(unreliable)
  const gone = { pid: vmm.pid, startTime: vmm.startTime + 1 }
  await expect(recordPagemap({ vmm: gone, files: [file] })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  const missing = { path: join(directory, 'missing'), storedPages: 1 }
  await expect(recordPagemap({ vmm, files: [missing] })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(recordPagemap({ vmm, files: [file] }, { maxPages: 0 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
  expect(openDescriptors(process.pid).filter(({ target }) => target.endsWith('/pagemap'))).toEqual([])
})

test('a VMM that ended was not seen to its end', async () => {
  const child: ChildProcess = spawn('sleep', ['600'], { stdio: 'ignore' })
  await once(child, 'spawn')
  const identity = processIdentity(child.pid as number) as ProcessIdentity
  await using recording = await recordPagemap({ vmm: identity, files: [file] })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const recorded = await recording.stop()
  expect(recorded).toMatchObject({ endedBy: 'vmm', exact: { present: false, written: false } })
})
