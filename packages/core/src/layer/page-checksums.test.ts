import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { openMemoryFile } from './memory-file.js'
import { ChunkBuilder, PageChecksums } from './page-checksums.js'

const pages = 1400
const bytes = randomBytes(pages * pageSizeBytes)
bytes.fill(0, 7 * pageSizeBytes, 600 * pageSizeBytes)
const pageOf = (page: number) => bytes.subarray(page * pageSizeBytes, (page + 1) * pageSizeBytes)
const crcOf = (list: readonly number[]) => list.reduce((crc, page) => crc32(pageOf(page), crc), 0)
const chunksOf = (list: readonly number[]) =>
  Array.from({ length: Math.ceil(list.length / 512) }, (_, i) => crcOf(list.slice(i * 512, (i + 1) * 512)))

let directory: string
let path: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-checksums-'))
  path = join(directory, 'file')
  writeFileSync(path, bytes)
})
afterAll(() => rmSync(directory, { recursive: true }))

test('chunks made of the checksums of pages are the checksums of the chunks’ bytes, in any order', async () => {
  await using file = await openMemoryFile(path)
  const runs = fc.array(fc.tuple(fc.nat(pages - 1), fc.integer({ min: 1, max: 400 })), { maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(runs, async (list) => {
      const clipped = list.map(([start, count]) => [start, Math.min(count, pages - start)] as const)
      const sequence = clipped.flatMap(([start, count]) => Array.from({ length: count }, (_, i) => start + i))
      const set = pageSetFromPages(sequence)
      const checksums = new PageChecksums(set)
      let read = 0
      await checksums.read(file, {
        onPages: (count) => {
          read += count
        },
      })
      expect(read).toBe(set.pages)
      const ascending = [...new Set(sequence)].sort((a, b) => a - b)
      expect([...checksums.chunks()]).toEqual(chunksOf(ascending))
      const chunks = new ChunkBuilder()
      for (const [start, count] of clipped) checksums.addTo(chunks, start, count)
      expect([...chunks.finish()]).toEqual(chunksOf(sequence))
    }),
    { numRuns: 30 },
  )
})
