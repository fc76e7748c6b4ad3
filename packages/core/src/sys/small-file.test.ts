import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFifo } from './fifo.js'
import { readSmallFile } from './small-file.js'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-small-'))
  writeFileSync(join(directory, 'file'), 'content')
  symlinkSync('file', join(directory, 'link'))
  makeFifo(join(directory, 'fifo'), 0o600)
})
afterAll(() => rmSync(directory, { recursive: true }))
const read = (name: string, maxBytes = 7) => readSmallFile(join(directory, name), maxBytes).toString()

test('gives all of a file that is not longer than the bound', () => {
  expect(read('file')).toBe('content')
  expect(() => read('file', 6)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
})

test.each([
  ['missing', 'NOT_FOUND'],
  ['link', 'PATH_INVALID'],
  ['fifo', 'PATH_INVALID'],
  ['.', 'PATH_INVALID'],
])('%s is %s, and is not waited for', (name, code) => {
  expect(() => read(name)).toThrow(expect.objectContaining({ code }))
})

test('a file of /proc, which says that it has no bytes, is empty', () => {
  expect(readSmallFile('/proc/self/status', 4096)).toHaveLength(0)
})
