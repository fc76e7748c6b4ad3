import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dropPageCache } from './fadvise.js'
import { mapAnonymous, mapFile } from './memory-map.js'
import { isResident } from './mincore.js'
import { openDirect, readInto } from './read-into.js'

const page = 4096
let directory: string
let path: string
beforeAll(() => {
  directory = mkdtempSync('/var/tmp/varve-read-into-')
  path = join(directory, 'pages')
  writeFileSync(path, Buffer.concat([1, 2, 3, 4].map((fill) => Buffer.alloc(page, fill))))
})
afterAll(() => rmSync(directory, { recursive: true }))

/** What the kernel finds in memory of ours. */
function contentOf(address: number, length: number): Buffer {
  const own = openSync('/proc/self/mem', 'r')
  const bytes = Buffer.alloc(length)
  readSync(own, bytes, 0, length, address)
  closeSync(own)
  return bytes
}

test.each(['direct', 'buffered'])('%s, the pages of a file come where they are wanted', (how) => {
  using memory = mapAnonymous(4 * page)
  const fd = (how === 'direct' ? openDirect(path) : undefined) ?? openSync(path, 'r')
  expect(readInto(fd, memory, page, 2 * page, page)).toBe(2 * page)
  expect(contentOf(memory.address, 4 * page)).toEqual(
    Buffer.concat([0, 2, 3, 0].map((fill) => Buffer.alloc(page, fill))),
  )
  expect(readInto(fd, memory, 0, 3 * page, 2 * page)).toBe(2 * page)
  closeSync(fd)
})

test.each([
  [-page, page],
  [3 * page, 2 * page],
  [0, 5 * page],
  [0, -page],
  [Number.NaN, page],
  [0, Number.NaN],
])('into %d, %d bytes of four pages is refused before the kernel sees it', (at, length) => {
  using memory = mapAnonymous(4 * page)
  const fd = openSync(path, 'r')
  expect(() => readInto(fd, memory, at, length, 0)).toThrow('EFAULT')
  closeSync(fd)
})

test('a directory cannot be read: an error, not a number', () => {
  using memory = mapAnonymous(page)
  const fd = openSync(directory, 'r')
  expect(() => readInto(fd, memory, 0, page, 0)).toThrow('EISDIR')
  closeSync(fd)
})

test('whether a page is in the page cache: one that was read is, one that was dropped is not', () => {
  const fd = openSync(path, 'r')
  using mapped = mapFile(fd, 4 * page)
  dropPageCache(fd)
  expect(isResident(mapped, 0)).toBe(false)
  readSync(fd, Buffer.alloc(page), 0, page, 0)
  expect(isResident(mapped, 0)).toBe(true)
  expect(isResident(mapped, 4)).toBe(false)
  expect(isResident(mapped, -1)).toBe(false)
  closeSync(fd)
})
