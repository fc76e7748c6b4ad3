import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { boundLog, logUse } from './bounded-log.js'

// Where runtime directories lie, and where they may lie.
describe.each(['/dev/shm', '/var/tmp'])('a log in %s', (place) => {
  let directory: string
  let path: string
  beforeEach(() => {
    directory = mkdtempSync(join(place, 'varve-log-'))
    path = join(directory, 'console.log')
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  test('keeps its last MiB, its size, and count of what went; a writer goes on at its end', () => {
    const chunk = Buffer.alloc(2 ** 20, 'line of a guest\n')
    let written = 0
    for (let round = 1; round <= 20; round++) {
      appendFileSync(path, chunk)
      written += chunk.length
      boundLog(path)
      const { writtenBytes, droppedBytes } = logUse(path)
      expect(writtenBytes).toBe(written)
      expect(written - droppedBytes).toBeGreaterThanOrEqual(Math.min(written, 2 ** 20))
      expect(statSync(path).blocks * 512).toBeLessThan(2.2 * 2 ** 20)
    }
    const { droppedBytes } = logUse(path)
    const text = readFileSync(path)
    expect(text.subarray(0, droppedBytes).every((byte) => byte === 0)).toBe(true)
    expect(
      text.subarray(droppedBytes).equals(Buffer.alloc(written - droppedBytes, 'line of a guest\n')),
    ).toBe(true)
  })

  test('that is short, empty, missing or a link is left alone', () => {
    boundLog(path)
    expect(logUse(path)).toEqual({ writtenBytes: 0, droppedBytes: 0 })
    writeFileSync(path, 'short')
    boundLog(path)
    expect([readFileSync(path, 'utf8'), logUse(path)]).toEqual([
      'short',
      { writtenBytes: 5, droppedBytes: 0 },
    ])
    const other = join(directory, 'other')
    const link = join(directory, 'link')
    writeFileSync(other, Buffer.alloc(3 * 2 ** 20, 1))
    symlinkSync(other, link)
    boundLog(link)
    expect(logUse(other).droppedBytes).toBe(0)
  })
})
