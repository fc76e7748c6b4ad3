import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { makeFifo } from '../sys/fifo.js'
import { type MutationKind, observeMutations } from '../sys/mutations.js'
import type { WorkingSet } from './working-set.js'
import { maxWorkingSetBytes } from './working-set-bytes.js'
import { readWorkingSet, writeWorkingSet } from './working-set-file.js'

/** 5.6 MB of runs, which is more than one write. */
const large: WorkingSet = {
  image: '0102030405060708090a0b0c0d0e0f10',
  pages: 2 ** 26,
  recordedAtMs: 1,
  windowMs: 2,
  readOnly: pageRange(0, 1000),
  written: pageSetFromPages(Uint32Array.from({ length: 700_000 }, (_, i) => 1000 + 80 * i)),
  groups: [],
  notes: {},
}
const small: WorkingSet = { ...large, written: pageRange(2000, 3) }

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-working-set-'))
})
afterEach(() => {
  observeMutations(undefined)
  rmSync(directory, { recursive: true })
})

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: unknown) => (isVarveError(error) ? error.code : error),
  )

describe('working-set file', () => {
  test('is read as it was written, private, with nothing beside it', async () => {
    const path = join(directory, 'hello.working-set')
    await writeWorkingSet(path, large)
    const read = await readWorkingSet(path)
    expect(read.written.pages).toBe(700_000)
    expect(Buffer.from(read.written.starts.buffer).equals(Buffer.from(large.written.starts.buffer))).toBe(
      true,
    )
    expect({ ...read, written: large.written }).toEqual(large)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(directory)).toEqual(['hello.working-set'])
    expect(statSync(path).size).toBeGreaterThan(4 * 2 ** 20)
  })

  test('is not overwritten', async () => {
    const path = join(directory, 'hello')
    await writeWorkingSet(path, small)
    const before = readFileSync(path)
    expect(await codeOf(writeWorkingSet(path, large))).toBe('ALREADY_EXISTS')
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(readdirSync(directory)).toEqual(['hello'])
  })

  test('has its name only once it is whole and synced, and leaves nothing when a step fails', async () => {
    const path = join(directory, 'hello')
    const seen: MutationKind[] = []
    observeMutations(({ kind }) => seen.push(kind))
    await writeWorkingSet(path, small)
    expect(seen[0]).toBe('create')
    expect(seen.lastIndexOf('write')).toBeLessThan(seen.indexOf('fsync'))
    expect(seen.indexOf('fsync')).toBeLessThan(seen.indexOf('link'))
    expect(seen.indexOf('link')).toBeLessThan(seen.lastIndexOf('fsync'))
    observeMutations(undefined)
    rmSync(path)
    for (const stop of ['write', 'fsync', 'link'] as const) {
      observeMutations(({ kind }) => {
        if (kind === stop) throw new Error('stopped')
      })
      expect(await codeOf(writeWorkingSet(path, small))).toEqual(new Error('stopped'))
      expect(readdirSync(directory)).toEqual([])
    }
  })

  test('can be given up on', async () => {
    const path = join(directory, 'hello')
    const signal = AbortSignal.abort()
    expect(await codeOf(writeWorkingSet(path, small, { signal }))).toBe('INTERRUPTED')
    expect(readdirSync(directory)).toEqual([])
    await writeWorkingSet(path, small)
    expect(await codeOf(readWorkingSet(path, { signal }))).toBe('INTERRUPTED')
  })

  test('is a regular file of a size that can be', async () => {
    const at = (name: string) => join(directory, name)
    expect(await codeOf(readWorkingSet(at('missing')))).toBe('NOT_FOUND')
    mkdirSync(at('directory'))
    expect(await codeOf(readWorkingSet(at('directory')))).toBe('PATH_INVALID')
    makeFifo(at('fifo'), 0o600)
    expect(await codeOf(readWorkingSet(at('fifo')))).toBe('PATH_INVALID')
    await writeWorkingSet(at('good'), small)
    symlinkSync(at('good'), at('link'))
    expect(await codeOf(readWorkingSet(at('link')))).toBe('PATH_INVALID')
    writeFileSync(at('empty'), '')
    expect(await codeOf(readWorkingSet(at('empty')))).toBe('FORMAT_INVALID')
    // Sparse: it takes no room, and is refused before any of it is read.
    truncateSync(at('good'), maxWorkingSetBytes + 1)
    expect(await codeOf(readWorkingSet(at('good')))).toBe('FORMAT_INVALID')
  })
})
