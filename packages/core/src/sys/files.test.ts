import {
  closeSync,
  existsSync,
  fdatasyncSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { copyWithHoles } from './copy-with-holes.js'
import { dataExtents, holeGranularityBytes } from './extents.js'
import { adviseRandom, adviseWillNeed, dropPageCache } from './fadvise.js'
import { makeFifo } from './fifo.js'
import { mapAnonymous } from './memory-map.js'
import { canSeeResidency, residentPages } from './mincore.js'
import { cloneRange, copyFileRange, probeReflink } from './reflink.js'

const page = 4096
let directory: string
let fd: number
beforeEach(() => {
  // Not os.tmpdir(): pages of a tmpfs never leave the page cache.
  directory = mkdtempSync('/var/tmp/varve-sys-')
  fd = openSync(join(directory, 'file'), 'wx+', 0o600)
})
afterEach(() => {
  closeSync(fd)
  rmSync(directory, { recursive: true })
})

/** A sparse file of 64 pages with data in the given ones, each page filled with its number. */
function sparse(pages: readonly number[]): void {
  ftruncateSync(fd, 64 * page)
  for (const number of pages) writeSync(fd, Buffer.alloc(page, number), 0, page, number * page)
}

describe('extents', () => {
  test('data extents are found where data was written', () => {
    sparse([0, 1, 7, 40, 41, 63])
    expect([...dataExtents(fd, 64 * page)]).toEqual([
      { startBytes: 0, endBytes: 2 * page },
      { startBytes: 7 * page, endBytes: 8 * page },
      { startBytes: 40 * page, endBytes: 42 * page },
      { startBytes: 63 * page, endBytes: 64 * page },
    ])
    expect([...dataExtents(fd, 41 * page)].at(-1)).toEqual({ startBytes: 40 * page, endBytes: 41 * page })
  })

  test('an empty file and a file of one hole have none', () => {
    expect([...dataExtents(fd, 0)]).toEqual([])
    ftruncateSync(fd, 64 * page)
    expect([...dataExtents(fd, 64 * page)]).toEqual([])
  })

  test('the hole granularity is measured and nothing stays', () => {
    expect(holeGranularityBytes(directory)).toBe(page)
  })
})

describe('page cache', () => {
  test('mincore sees what was read after the cache was dropped', async () => {
    sparse([...Array(64).keys()])
    expect(canSeeResidency(join(directory, 'file'))).toBe(true)
    dropPageCache(fd)
    expect(residentPages(fd).every((byte) => (byte & 1) === 0)).toBe(true)
    adviseRandom(fd)
    for (const number of [3, 17, 60]) readSync(fd, Buffer.alloc(1), 0, 1, number * page)
    const resident = [...residentPages(fd)].flatMap((byte, index) => (byte & 1 ? [index] : []))
    expect(resident).toEqual([3, 17, 60])
    adviseWillNeed(fd, 0, 64 * page)
    fdatasyncSync(fd)
  })

  test('an empty file has no pages', () => {
    expect(residentPages(fd)).toHaveLength(0)
  })
})

describe('copies', () => {
  test('copy_file_range copies a range and stops at the end of the source', () => {
    sparse([...Array(64).keys()])
    const target = openSync(join(directory, 'target'), 'wx+')
    expect(copyFileRange(fd, 5 * page, target, 2 * page, 3 * page)).toBe(3 * page)
    expect(copyFileRange(fd, 62 * page, target, 10 * page, 5 * page)).toBe(2 * page)
    const bytes = Buffer.alloc(3 * page)
    readSync(target, bytes, 0, bytes.length, 2 * page)
    expect(bytes).toEqual(Buffer.concat([5, 6, 7].map((number) => Buffer.alloc(page, number))))
    closeSync(target)
  })

  test.each(['/var/tmp', '/dev/shm'])(
    'a copy into %s keeps holes as holes and zero data as data',
    async (place) => {
      sparse([3, 4, 40])
      writeSync(fd, Buffer.alloc(page), 0, page, 20 * page)
      const elsewhere = mkdtempSync(join(place, 'varve-copy-'))
      const copy = join(elsewhere, 'copy')
      const { method, sizeBytes } = await copyWithHoles(join(directory, 'file'), copy)
      const elsewhereOnly = place === '/dev/shm' ? ['copy_file_range', 'read-write'] : []
      expect(['reflink', 'copy_file_range', ...elsewhereOnly]).toContain(method)
      expect(sizeBytes).toBe(64 * page)
      expect(readFileSync(copy)).toEqual(readFileSync(join(directory, 'file')))
      const target = openSync(copy, 'r')
      expect([...dataExtents(target, 64 * page)]).toEqual([...dataExtents(fd, 64 * page)])
      expect(statSync(copy).mode & 0o777).toBe(0o600)
      closeSync(target)
      rmSync(elsewhere, { recursive: true })
    },
  )

  test('a copy that is not wanted any more, or cannot be made, leaves nothing', async () => {
    sparse([3, 4, 40])
    const [from, to] = [join(directory, 'file'), join(directory, 'copy')]
    await expect(copyWithHoles(from, to, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
    const aborter = new AbortController()
    const copying = copyWithHoles(from, to, { signal: aborter.signal })
    while (!existsSync(to)) await new Promise(setImmediate)
    aborter.abort()
    await expect(copying).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(copyWithHoles(join(directory, 'absent'), to)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(copyWithHoles(directory, to)).rejects.toMatchObject({ code: 'PATH_INVALID' })
    makeFifo(join(directory, 'fifo'), 0o600)
    await expect(copyWithHoles(join(directory, 'fifo'), to)).rejects.toMatchObject({ code: 'PATH_INVALID' })
    symlinkSync(from, join(directory, 'link'))
    await expect(copyWithHoles(join(directory, 'link'), to)).rejects.toThrow('symbolic link')
    expect(existsSync(to)).toBe(false)
    writeFileSync(to, 'mine')
    await expect(copyWithHoles(from, to)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readFileSync(to, 'utf8')).toBe('mine')
  })

  test('a long copy lets other work run', async () => {
    ftruncateSync(fd, 0)
    const sizeBytes = 48 * 1024 * 1024 + 5
    for (let at = 0; at < sizeBytes; at += 4 * 1024 * 1024)
      writeSync(fd, Buffer.alloc(Math.min(4 * 1024 * 1024, sizeBytes - at), 7), 0, undefined, at)
    let turns = 0
    const ticking = setInterval(() => turns++, 0)
    const { method } = await copyWithHoles(join(directory, 'file'), join(directory, 'copy'))
    clearInterval(ticking)
    if (method !== 'reflink') expect(turns).toBeGreaterThan(3)
    expect(readFileSync(join(directory, 'copy')).equals(readFileSync(join(directory, 'file')))).toBe(true)
  })

  test('a clone either shares the range or says that it cannot', () => {
    sparse([0, 1])
    const target = openSync(join(directory, 'target'), 'wx+')
    const shared = cloneRange(fd, 0, target, 0, 2 * page)
    expect(shared).toBe(probeReflink(directory) === 'works')
    if (shared) {
      const bytes = Buffer.alloc(page)
      readSync(target, bytes, 0, page, page)
      expect(bytes).toEqual(Buffer.alloc(page, 1))
    }
    closeSync(target)
  })
})

test('a mapping is page-aligned and can be given back twice', () => {
  const mapping = mapAnonymous(3 * page)
  expect(mapping.address % page).toBe(0)
  expect(mapping.lengthBytes).toBe(3 * page)
  mapping[Symbol.dispose]()
  mapping[Symbol.dispose]()
})
