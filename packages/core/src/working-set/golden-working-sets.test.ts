import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageSetFromPages, pageSetFromRuns } from '../memory/make-page-set.js'
import type { PageSet } from '../memory/page-set.js'
import type { WorkingSet } from './working-set.js'
import { workingSetFromBytes } from './working-set-bytes.js'
import { readWorkingSet, writeWorkingSet } from './working-set-file.js'

/** Written by `node scripts/bench.mjs golden-working-sets`. */
const golden = (name: string) =>
  fileURLToPath(new URL(`../../../../test/golden/working-sets/${name}.working-set`, import.meta.url))

const runs = (...list: readonly (readonly [number, number])[]): PageSet =>
  pageSetFromRuns(list.map(([start, count]) => ({ start, count })))
const every = (step: number, first: number, count: number): PageSet =>
  pageSetFromPages(Uint32Array.from({ length: count }, (_, i) => first + step * i))
const rest = {
  image: '0102030405060708090a0b0c0d0e0f10',
  recordedAtMs: 1_700_000_000_123,
  windowMs: 1500,
  groups: [],
  notes: {},
}

/** Bytes: header 64, sets, groups, notes, checksum 4. */
const expected: readonly { readonly name: string; readonly bytes: number; readonly says: WorkingSet }[] = [
  {
    name: 'empty',
    bytes: 64 + 8 + 8 + 2 + 4,
    says: { ...rest, pages: 1, recordedAtMs: 0, windowMs: 0, readOnly: runs(), written: runs() },
  },
  {
    name: 'runs',
    bytes: 64 + (8 + 2 * 8) + (8 + 8) + 2 + 4,
    says: { ...rest, pages: 32_768, readOnly: runs([0, 100], [200, 50]), written: runs([1000, 3000]) },
  },
  {
    name: 'bitmap',
    bytes: 64 + (8 + 4 + 26) + (8 + 4 + 8) + 2 + 4,
    says: { ...rest, pages: 32_768, readOnly: every(2, 13, 100), written: every(3, 1000, 21) },
  },
  {
    name: 'last-page',
    bytes: 64 + (8 + 8) + (8 + 4 + 1) + 2 + 4,
    says: {
      ...rest,
      pages: 2 ** 32 - 2,
      readOnly: runs([2 ** 32 - 100, 97]),
      written: runs([2 ** 32 - 3, 1]),
    },
  },
  {
    name: 'groups',
    bytes: 64 + (8 + 2 * 8) + (8 + 4 + 32) + (8 + 8 + 8) + (8 + 8 + 4 + 32) + (8 + 8 + 3 * 8) + 115 + 4,
    says: {
      ...rest,
      pages: 32_768,
      readOnly: runs([0, 64], [512, 300]),
      written: every(4, 4096, 64),
      groups: [
        { atMs: 4, set: runs([512, 200]) },
        { atMs: 4, set: every(8, 4096, 32) },
        { atMs: 1499, set: runs([0, 1], [712, 100], [4100, 1]) },
      ],
      notes: {
        recorders: { present: 'pagemap', written: 'diff' },
        exact: { present: false, written: true },
        guest: 'Zähler €',
      },
    },
  },
]

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-golden-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

describe('golden working sets', () => {
  test.each(expected)('$name says what it said when version 1 was written', async ({ name, bytes, says }) => {
    expect(await readWorkingSet(golden(name))).toEqual(says)
    expect(readFileSync(golden(name)).length).toBe(bytes)
  })

  test.each(expected)('$name is written again byte by byte', async ({ name, says }) => {
    const path = join(directory, name)
    await writeWorkingSet(path, says)
    expect(readFileSync(path).equals(readFileSync(golden(name)))).toBe(true)
  })

  test.each(expected)('$name is refused with any bit flipped and any end cut off', ({ name }) => {
    const bytes = readFileSync(golden(name))
    const isRefused = (broken: Buffer): boolean => {
      try {
        workingSetFromBytes(broken, name)
      } catch (error) {
        return (
          isVarveError(error) &&
          ['FORMAT_INVALID', 'FORMAT_UNSUPPORTED', 'CHECKSUM_MISMATCH'].includes(error.code)
        )
      }
      return false
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const broken = Buffer.from(bytes)
      broken[bit >> 3] = (broken[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(isRefused(broken)).toBe(true)
    }
    for (let length = 0; length < bytes.length; length++)
      expect(isRefused(bytes.subarray(0, length))).toBe(true)
  })
})
