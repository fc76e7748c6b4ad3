import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import koffi from 'koffi'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { dropPageCache } from './fadvise.js'
import { isMappingOf, type Mapping, mappingsOf } from './mappings.js'
import { mapAnonymous } from './memory-map.js'
import { type PageKind, Pagemap } from './pagemap.js'
import { openDescriptors } from './proc.js'

const page = 4096
const pages = 64
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

let directory: string
let path: string
/** The file, from its page 4 on, mapped privately as Firecracker maps a memory file. */
let address: number
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-pagemap-')
  path = join(directory, 'memory')
  writeFileSync(path, Buffer.alloc((pages + 4) * page, 7))
  const fd = openSync(path, 'r')
  address = Number(mmap(0, pages * page, PROT_READ_WRITE, MAP_PRIVATE, fd, 4 * page))
  // A fault maps neighbours that are in the page cache, and reads no others into it.
  dropPageCache(fd)
  expect(madvise(address, pages * page, MADV_RANDOM)).toBe(0)
  closeSync(fd)
})
afterEach(() => {
  munmap(address, pages * page)
  rmSync(directory, { recursive: true })
})

const one = Buffer.alloc(1, 1)
const readPage = (number: number) => read(one, address + number * page, 1)
const writePage = (number: number) => write(address + number * page, one, 1)

type Run = [first: number, end: number, kind: PageKind]
function runs(pagemap: Pagemap, start = 0, end = pages): Run[] {
  const found: Run[] = []
  pagemap.forEachRun(address + start * page, address + end * page, (from, to, kind) =>
    found.push([(from - address) / page, (to - address) / page, kind]),
  )
  return found
}

/** PAGEMAP_SCAN is of Linux 6.7. */
const [major = 0, minor = 0] = release().split('.').map(Number)
const hasScan = major > 6 || (major === 6 && minor >= 7)
const ways = hasScan ? (['PAGEMAP_SCAN', 'read'] as const) : (['read'] as const)

test('by itself the better way is taken that the kernel has', () => {
  using pagemap = new Pagemap(process.pid)
  expect(pagemap.way).toBe(ways[0])
})

describe.each(ways)('%s', (way) => {
  test('tells pages that were read from pages that were written, and from the rest', () => {
    using pagemap = new Pagemap(process.pid, way)
    expect(pagemap.way).toBe(way)
    expect(runs(pagemap)).toEqual([])
    for (const number of [3, 4, 5, 20, 63]) readPage(number)
    for (const number of [5, 6, 30]) writePage(number)
    const all: Run[] = [
      [3, 5, 'file'],
      [5, 7, 'anonymous'],
      [20, 21, 'file'],
      [30, 31, 'anonymous'],
      [63, 64, 'file'],
    ]
    expect(runs(pagemap)).toEqual(all)
    expect(runs(pagemap, 4, 6)).toEqual([
      [4, 5, 'file'],
      [5, 6, 'anonymous'],
    ])
    expect(runs(pagemap, 7, 7)).toEqual([])
  })

  test('gives every one of more runs than one call holds', () => {
    using memory = mapAnonymous(20_000 * page)
    for (let number = 0; number < 20_000; number += 2) write(memory.address + number * page, one, 1)
    using pagemap = new Pagemap(process.pid, way)
    const found: number[] = []
    pagemap.forEachRun(memory.address, memory.address + memory.lengthBytes, (start, end, kind) => {
      expect([end - start, kind]).toEqual([page, 'anonymous'])
      found.push((start - memory.address) / page)
    })
    expect(found).toEqual(Array.from({ length: 10_000 }, (_, index) => 2 * index))
  })

  test('finds a run that is longer than one read', () => {
    const count = 70_000
    using memory = mapAnonymous((count + 2) * page)
    for (let number = 1; number <= count; number++) write(memory.address + number * page, one, 1)
    using pagemap = new Pagemap(process.pid, way)
    let sum = 0
    let last = 0
    pagemap.forEachRun(memory.address, memory.address + memory.lengthBytes, (start, end) => {
      expect(start).toBeGreaterThanOrEqual(last)
      last = end
      sum += (end - start) / page
    })
    expect(sum).toBe(count)
  })

  test('tells of one page whether it is there', () => {
    writePage(3)
    readPage(5)
    using pagemap = new Pagemap(process.pid, way)
    const there = [2, 3, 4, 5].map((number) => pagemap.isPresent(address + number * page))
    expect(there).toEqual([false, true, false, true])
  })

  test('a process that has ended has no pages', async () => {
    const child: ChildProcess = spawn('/bin/sleep', ['1000'], { stdio: 'ignore' })
    await once(child, 'spawn')
    const stack = await eventually(() =>
      mappingsOf(child.pid as number).find((mapping) => mapping.path === '[stack]'),
    )
    using pagemap = new Pagemap(child.pid as number, way)
    const count = () => {
      let sum = 0
      pagemap.forEachRun(stack.start, stack.end, (start, end) => {
        sum += (end - start) / page
      })
      return sum
    }
    expect(count()).toBeGreaterThan(0)
    expect(pagemap.isPresent(stack.end - page)).toBe(true)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(count()).toBe(0)
    expect(pagemap.isPresent(stack.end - page)).toBe(false)
    expect(mappingsOf(child.pid as number)).toEqual([])
  })
})

test('both ways agree', () => {
  using best = new Pagemap(process.pid)
  using entries = new Pagemap(process.pid, 'read')
  for (let number = 0; number < pages; number++) {
    if (number % 3 === 0) readPage(number)
    if (number % 5 === 0) writePage(number)
  }
  expect(runs(best)).toEqual(runs(entries))
  expect(runs(best).length).toBeGreaterThan(20)
})

test('what cannot be looked at is refused, and nothing stays open', () => {
  expect(() => new Pagemap(2 ** 22 + 1)).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
  {
    using pagemap = new Pagemap(process.pid)
    for (const [start, end] of [
      [1, page],
      [0, 100],
      [2 * page, page],
      [-page, page],
      [0, 2 ** 48],
      [Number.NaN, page],
    ] as const)
      expect(() => pagemap.forEachRun(start, end, () => {})).toThrow('not whole pages')
    expect(() => pagemap.isPresent(1)).toThrow('not whole pages')
    pagemap[Symbol.dispose]()
    expect(() => pagemap.isPresent(0)).toThrow('is closed')
    expect(() => pagemap.forEachRun(0, page, () => {})).toThrow('is closed')
  }
  expect(openDescriptors(process.pid).filter(({ target }) => target.endsWith('/pagemap'))).toEqual([])
})

describe('mappingsOf', () => {
  const mine = (): Mapping => mappingsOf(process.pid).find(({ start }) => start === address) as Mapping

  test('says where a file is mapped, from which byte on, and that it is private', () => {
    expect(mine()).toMatchObject({ end: address + pages * page, private: true, offsetBytes: 4 * page, path })
  })

  test('and the mapping is known as that file’s, by whatever name', () => {
    const stat = statSync(path, { bigint: true })
    expect(isMappingOf(mine(), '/some/other/name', stat)).toBe(true)
    const other = { ...stat, dev: stat.dev + 1n }
    expect(isMappingOf(mine(), '/some/other/name', other)).toBe(false)
    // If stat(2) and /proc name the device differently, the name must agree.
    expect(isMappingOf(mine(), path, other)).toBe(true)
    expect(isMappingOf(mine(), path, { ...stat, ino: stat.ino + 1n })).toBe(false)
    const device = { major: 0x12345, minor: 0xabcde }
    expect(isMappingOf({ ...mine(), device }, '', { ...stat, dev: makedev(0x12345n, 0xabcden) })).toBe(true)
  })
})

/** As sys/sysmacros.h has it. */
const makedev = (major: bigint, minor: bigint) =>
  ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n)

async function eventually<Value>(find: () => Value | undefined): Promise<Value> {
  for (;;) {
    const found = find()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
