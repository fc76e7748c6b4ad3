import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { extentMapFromJson } from '../layer/extent-map-json.js'
import { flatIndex } from '../layer/layer-index.js'
import type { LayerFile } from '../layer/layer-types.js'
import { countClasses } from '../memory/classes.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { type PageSet, pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { adviseRandom } from '../sys/fadvise.js'
import { openDescriptors, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { classifyRun } from './classify-run.js'
import { recordMincore } from './mincore-recorder.js'
import type { RecordedPages } from './recording.js'

const pages = 256
let directory: string
let child: ChildProcess
let vmm: ProcessIdentity
beforeEach(async () => {
  // Not os.tmpdir(): /tmp may be a tmpfs, whose pages never leave the page cache.
  // /var/tmp is on disk (hier(7)).
  directory = mkdtempSync('/var/tmp/varve-mincore-')
  // Stands in for the VMM: holds still until told, then grows by 64 MiB and says so.
  const script = `process.stdin.once('data', () => { globalThis.b = Buffer.alloc(64 << 20, 1); process.stdout.write('grown') })
    process.stdout.write('ready')`
  child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  vmm = processIdentity(child.pid as number) as ProcessIdentity
})
afterEach(async () => {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  rmSync(directory, { recursive: true })
})

function memoryFile(name: string): LayerFile {
  const path = join(directory, name)
  writeFileSync(path, Buffer.alloc(pages * pageSizeBytes, 1), { mode: 0o600 })
  return { path, storedPages: pages }
}

/** Reads pages the way that brings in these and no others: without read-ahead. */
function touch(path: string, list: readonly number[]): void {
  const fd = openSync(path, 'r')
  adviseRandom(fd)
  for (const page of list) readSync(fd, Buffer.alloc(pageSizeBytes), 0, pageSizeBytes, page * pageSizeBytes)
  closeSync(fd)
}

const list = (set: PageSet | null): number[] => (set === null ? [] : [...pagesOf(set)])
const groupLists = ({ groups }: RecordedPages): number[][] => groups.map(({ set }) => list(set))

describe('recordMincore', () => {
  test('sees exactly the pages that were read, in the groups in which it looked', async () => {
    const file = memoryFile('memory')
    touch(file.path, [1, 2, 3])
    await using recording = await recordMincore({ files: [file], vmm })
    touch(file.path, [7, 100])
    await recording.scan()
    await recording.scan()
    touch(file.path, [8, 7, 255, 0])
    const recorded = await recording.stop()
    expect(groupLists(recorded)).toEqual([
      [7, 100],
      [0, 8, 255],
    ])
    expect(list(recorded.present)).toEqual([0, 7, 8, 100, 255])
    expect(recorded).toMatchObject({ recorder: 'mincore', written: null, scans: 3, endedBy: 'stop' })
  })

  test('counts a stored page only where the image takes it from that layer', async () => {
    const base = memoryFile('base')
    const diff = memoryFile('diff')
    // Image: pages 0-9 of the base, 10-19 of the diff, 20-29 zero, the rest of the base.
    const map = extentMapFromJson({ pages, runs: [10, 0, 0, 10, 1, 10, 10, -1, 0, pages - 30, 0, 30] }, [
      pages,
      pages,
    ])
    await using recording = await recordMincore({ files: [base, diff], map, vmm })
    touch(base.path, [5, 12, 25, 40])
    await recording.scan()
    touch(diff.path, [5, 12, 25, 40])
    expect(groupLists(await recording.stop())).toEqual([[5, 40], [12]])
  })

  test('looks by itself when the VMM has grown, and not before', async () => {
    const file = memoryFile('memory')
    await using recording = await recordMincore({ files: [file], vmm }, { rssGrowthPages: 4096 })
    touch(file.path, [3])
    await sleep(50)
    expect(recording.scans).toBe(0)
    child.stdin?.write('grow')
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    while (recording.scans === 0) await sleep(1)
    const before = recording.scans
    touch(file.path, [4])
    const recorded = await recording.stop()
    expect(groupLists(recorded)).toEqual([[3], [4]])
    expect(recorded.scans).toBe(before + 1)
  })

  test('gives what it saw when the VMM has ended', async () => {
    const file = memoryFile('memory')
    await using recording = await recordMincore({ files: [file], vmm })
    touch(file.path, [9])
    child.kill('SIGKILL')
    await once(child, 'exit')
    while (recording.endedBy === undefined) await sleep(1)
    // No longer looked at: the VM cannot have touched it.
    touch(file.path, [10])
    const { present, endedBy } = await recording.stop()
    expect(list(present)).toEqual([9])
    expect(endedBy).toBe('vmm')
  })

  test('an abort ends it, and it gives its descriptors back', async () => {
    const file = memoryFile('memory')
    const controller = new AbortController()
    const recording = await recordMincore({ files: [file], vmm }, { signal: controller.signal })
    controller.abort()
    await expect(recording.scan()).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(recording.stop()).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(recording.stop()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    const again = recordMincore({ files: [file], vmm }, { signal: controller.signal })
    await expect(again).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(openDescriptors(process.pid).filter(({ target }) => target === file.path)).toEqual([])
  })

  test('ends once', async () => {
    await using recording = await recordMincore({ files: [memoryFile('memory')], vmm })
    await recording.stop()
    await expect(recording.stop()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    await expect(recording.scan()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
  })

  test('refuses a file whose pages cannot leave the page cache', async () => {
    const path = join('/dev/shm', `varve-mincore-${process.pid}`)
    writeFileSync(path, Buffer.alloc(4 * pageSizeBytes, 1), { mode: 0o600 })
    try {
      const work = recordMincore({ files: [{ path, storedPages: 4 }], vmm })
      await expect(work).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE', details: { residentPages: 4 } })
    } finally {
      rmSync(path)
    }
  })

  test('refuses a file whose residency the kernel hides from this user', async () => {
    const file = memoryFile('memory')
    // As root: become the user nobody for the call. Else: any file of root's that we may read but not write.
    const isRoot = process.geteuid?.() === 0
    if (isRoot) {
      chmodSync(directory, 0o755)
      chmodSync(file.path, 0o644)
      process.seteuid?.(65534)
    }
    try {
      const files = [isRoot ? file : { path: process.execPath, storedPages: 1 }]
      await expect(recordMincore({ files, vmm })).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
    } finally {
      if (isRoot) process.seteuid?.(0)
    }
  })

  test('refuses what it cannot record', async () => {
    const file = memoryFile('memory')
    const refused = (target: object, options = {}) =>
      recordMincore({ files: [file], vmm, ...target }, options)
    const invalid = { code: 'INVALID_ARGUMENT' }
    await expect(refused({ files: [] })).rejects.toMatchObject(invalid)
    await expect(refused({ files: [file, file] })).rejects.toMatchObject(invalid)
    await expect(refused({}, { pollMs: 0 })).rejects.toMatchObject(invalid)
    await expect(refused({}, { rssGrowthPages: 0 })).rejects.toMatchObject(invalid)
    await expect(refused({}, { maxMs: 0 })).rejects.toMatchObject(invalid)
    await expect(refused({ files: [{ ...file, storedPages: 999 }] })).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
    })
    const gone = { pid: vmm.pid, startTime: vmm.startTime + 1 }
    await expect(refused({ vmm: gone })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('classifyRun', () => {
  test('read-only = present − written, and a page that became zero was written', () => {
    const map = extentMapFromJson({ pages: 20, runs: [15, 0, 0, 5, -1, 0] }, [20])
    const classes = classifyRun({
      map,
      present: pageRange(0, 10),
      nextDiff: flatIndex(20, pageSetFromPages([1, 16]), pageSetFromPages([2])),
    })
    expect(list(classes.sets['read-only'])).toEqual([0, 3, 4, 5, 6, 7, 8, 9])
    expect(list(classes.sets.written)).toEqual([1, 2, 16])
    expect(list(classes.sets.zero)).toEqual([15, 17, 18, 19])
    expect(countClasses(classes)).toEqual({ 'read-only': 8, written: 3, zero: 4, cold: 5 })
  })
})
