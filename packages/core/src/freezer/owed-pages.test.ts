import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { readOwedPages, writeOwedPages } from './owed-pages.js'

const from = '00112233445566778899aabbccddeeff'
const owed = { from, memoryPages: 100, written: pageSetFromPages([0, 3, 31, 32, 63, 99]) }
let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-owed-'))
  path = join(directory, 'owed-pages')
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('owed pages', () => {
  test('come back as they were, readable by their owner alone', () => {
    writeOwedPages(path, owed)
    expect(readOwedPages(path, 100)).toEqual(owed)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    writeOwedPages(path, { ...owed, from: null })
    expect(readOwedPages(path, 100).from).toBeNull()
  })

  test('that are not whole are refused', () => {
    writeOwedPages(path, owed)
    expect(() => readOwedPages(path, 200)).toThrow('have 60 bytes, not the 72 of 200 pages')
    truncateSync(path, 50)
    expect(() => readOwedPages(path, 100)).toThrow('have 50 bytes')
  })

  test.each(Array.from({ length: 60 }, (_, at) => at))('with byte %i changed are refused', (at) => {
    writeOwedPages(path, owed)
    const bytes = readFileSync(path)
    bytes[at] = (bytes[at] as number) ^ 0x10
    writeFileSync(path, bytes)
    expect(() => readOwedPages(path, 100)).toThrow(/owed pages/)
  })
})
