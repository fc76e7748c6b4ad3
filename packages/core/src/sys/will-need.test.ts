import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { dropPageCache } from './fadvise.js'
import { residentPages } from './mincore.js'
import { submitReads } from './will-need.js'

const page = 4096
const pages = 6000
let directory: string
let fd: number
beforeEach(() => {
  // Not os.tmpdir(): pages of a tmpfs never leave the page cache.
  directory = mkdtempSync('/var/tmp/varve-sys-')
  const path = join(directory, 'file')
  writeFileSync(path, Buffer.alloc(pages * page, 7))
  fd = openSync(path, 'r')
  dropPageCache(fd)
})
afterEach(() => {
  closeSync(fd)
  rmSync(directory, { recursive: true })
})

const range = (start: number, count: number) => ({ offsetBytes: start * page, lengthBytes: count * page })
const resident = () => [...residentPages(fd)].flatMap((byte, number) => (byte & 1 ? [number] : []))

test('brings the ranges that were asked for, more than fit one call, and no others', async () => {
  const asked = Array.from({ length: 1500 }, (_, i) => i * 4)
  let calls = 0
  await submitReads(
    fd,
    asked.map((number) => range(number, 1)),
    () => calls++,
  )
  await vi.waitFor(() => expect(resident()).toEqual(asked))
  expect(calls).toBe(2)
})

test('leaves out what lies behind the end of the file', async () => {
  await submitReads(fd, [range(pages - 1, 3), range(pages + 10, 5)], () => {})
  await vi.waitFor(() => expect(resident()).toEqual([pages - 1]))
  expect(readSync(fd, Buffer.alloc(1), 0, 1, (pages - 1) * page)).toBe(1)
})

test('stops where it is told to', async () => {
  const stop = () => {
    throw new Error('enough')
  }
  await expect(submitReads(fd, [range(0, 1)], stop)).rejects.toThrow('enough')
  expect(resident()).toEqual([])
})
