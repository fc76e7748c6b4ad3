import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bringIntoCache, dropFromCache, whyNeverCold } from './cache-state.js'
import { diskFacts } from './disk-facts.js'

const directories: string[] = []
const directoryOn = (where: string) => {
  const made = mkdtempSync(join(where, 'varve-cache-state-'))
  directories.push(made)
  return made
}
let disk: string
let memory: string
beforeEach(() => {
  disk = directoryOn('/var/tmp')
  memory = directoryOn('/dev/shm')
})
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true })
})

test('a file on a disk is cold after it was dropped', () => {
  const path = join(disk, 'file')
  writeFileSync(path, Buffer.alloc(300 * 4096, 1))
  bringIntoCache([path])
  dropFromCache([path])
  expect(whyNeverCold(disk)).toBeUndefined()
})

test('a file in memory never is, and is refused as not cold', () => {
  const path = join(memory, 'file')
  writeFileSync(path, Buffer.alloc(300 * 4096, 1))
  expect(() => dropFromCache([path])).toThrow(`not cold: 300 of 300 pages of ${path} stay in the page cache`)
  expect(whyNeverCold(memory)).toBe(`files in ${memory} stay in the page cache`)
})

test('the disk of a directory is told from its mount', () => {
  expect(diskFacts(memory)).toMatchObject({ fileSystem: 'tmpfs', device: 'none', rotational: 'unknown' })
  const there = diskFacts(disk)
  expect(there.fileSystem).toMatch(/^\w+$/)
  expect(there.fileSystem).not.toBe('tmpfs')
  const line = (number: string, at: string, end: string) =>
    `36 35 ${number} / ${at} rw,noatime master:1 - ${end} rw\n`
  const mounts = [
    line('0:1', '/', 'overlay overlay'),
    line('7:99', '/dev', 'devtmpfs devtmpfs'),
    line('0:55', '/dev/shm', 'ramfs none'),
    // On the same path, over the other one; and a neighbour whose name only begins alike.
    line('0:56', '/dev/shm', 'tmpfs none'),
    line('0:57', '/dev/shm/varve', 'ext4 /dev/none'),
    'a line that is cut',
  ].join('')
  expect(diskFacts(memory, mounts).fileSystem).toBe('tmpfs')
  expect(diskFacts(memory, '')).toMatchObject({ fileSystem: 'unknown', readAheadKib: 'unknown' })
})
