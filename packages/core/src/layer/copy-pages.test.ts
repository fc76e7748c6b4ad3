import { linkSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, observeMutations } from '../sys/mutations.js'
import { zeroMap } from './compose-extent-map.js'
import { copyPages } from './copy-pages.js'
import { type ExtentMap, zeroSource } from './extent-map.js'
import { openImageLayers } from './image-reader.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-copy-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

let serial = 0
const fresh = (name: string) => join(directory, `${name}-${serial++}`)

describe('copyPages', () => {
  /**
   * Runs of all lengths from two flat files and a packed one, so that stretches,
   * overlays and gaps of every kind occur.
   */
  const runs = fc.array(
    fc.tuple(
      fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 13, max: 700 })),
      fc.constantFrom('a', 'a', 'a', 'b', 'p', 'zero'),
    ),
    { minLength: 1, maxLength: 60 },
  )

  const filesOf = (where: string) => {
    const file = (name: string, value: number) => {
      const bytes = Buffer.alloc(6000 * pageSizeBytes, value)
      // Each page says which it is, so that one copied to the wrong place is not right by chance.
      for (let page = 0; page < 6000; page++) bytes.writeUInt32LE(page, page * pageSizeBytes)
      const path = join(where, `${name}-${serial++}`)
      writeFileSync(path, bytes, { mode: 0o600 })
      return { path, storedPages: 6000, bytes }
    }
    return { a: file('a', 1), b: file('b', 2), p: file('p', 3) }
  }

  async function check(where: string): Promise<Record<string, number>> {
    const { a, b, p } = filesOf(where)
    const used: Record<string, number> = {}
    await fc.assert(
      fc.asyncProperty(runs, async (list) => {
        const [starts, counts, sources, storedStarts] = [[], [], [], []] as number[][] as [
          number[],
          number[],
          number[],
          number[],
        ]
        let page = 0
        let packed = 0
        const expected: Buffer[] = []
        for (const [length, kind] of list) {
          const count = Math.min(length, 6000 - page)
          if (count === 0) break
          const from = kind === 'p' ? packed : page
          if (kind === 'p') packed += count
          starts.push(page)
          counts.push(count)
          sources.push(['a', 'b', 'p'].indexOf(kind))
          storedStarts.push(kind === 'zero' ? 0 : from)
          const source = { a, b, p, zero: undefined }[kind]
          const [begin, end] = [from * pageSizeBytes, (from + count) * pageSizeBytes]
          expected.push(source?.bytes.subarray(begin, end) ?? Buffer.alloc(count * pageSizeBytes))
          page += count
        }
        const map: ExtentMap = {
          pages: page,
          starts: Uint32Array.from(starts),
          counts: Uint32Array.from(counts),
          sources: Int16Array.from(sources),
          storedStarts: Uint32Array.from(storedStarts),
        }
        await using files = await openImageLayers({ map, files: [a, b, p] })
        const path = fresh('copy')
        await using out = await createFile(path)
        const report = await copyPages(map, files, out)
        expect(readFileSync(path).equals(Buffer.concat(expected))).toBe(true)
        const data = counts.reduce((sum, count, i) => sum + (sources[i] === zeroSource ? 0 : count), 0)
        expect(Object.values(report.pagesBy).reduce((sum, count) => sum + count, 0)).toBe(data)
        expect(statSync(path).blocks * 512).toBeLessThanOrEqual((data + 64) * pageSizeBytes)
        for (const [method, count] of Object.entries(report.pagesBy))
          used[method] = (used[method] ?? 0) + count
        rmSync(path)
      }),
      { numRuns: 60 },
    )
    return used
  }

  test('every page at its place, holes for zeros, in one file system', async () => {
    await check(directory)
  })

  test('between two kinds of file system, where the kernel does not copy, pages are read and written', async () => {
    const elsewhere = mkdtempSync(join('/dev/shm', 'varve-compose-'))
    try {
      const used = await check(elsewhere)
      expect(used.FICLONERANGE).toBe(0)
      expect(used['read-write']).toBeGreaterThan(0)
    } finally {
      rmSync(elsewhere, { recursive: true })
    }
  })

  test('a sync that fails in the background fails the copy', async () => {
    const { a } = filesOf(directory)
    // 72 MiB: more than is copied before the first sync.
    const map: ExtentMap = {
      pages: 18_000,
      starts: Uint32Array.of(0, 6000, 12_000),
      counts: Uint32Array.of(6000, 6000, 6000),
      sources: Int16Array.of(0, 0, 0),
      storedStarts: Uint32Array.of(0, 0, 0),
    }
    await using sources = await openImageLayers({ map, files: [a] })
    await using file = await createFile(fresh('copy'))
    let syncs = 0
    observeMutations(({ kind }) => {
      if (kind === 'fsync' && syncs++ === 0) throw new Error('the disk is gone')
    })
    try {
      await expect(copyPages(map, sources, file)).rejects.toThrow('the disk is gone')
      expect(syncs).toBe(1)
    } finally {
      observeMutations(undefined)
    }
  })

  test('a file with two names is not written to', async () => {
    const path = fresh('new')
    await using file = await createFile(path)
    linkSync(path, fresh('second'))
    const map = zeroMap(3)
    await using sources = await openImageLayers({ map, files: [] })
    const copying = copyPages(map, sources, file)
    await expect(copying).rejects.toMatchObject({ code: 'PATH_INVALID', remedy: expect.any(String) })
    expect(statSync(path).size).toBe(0)
  })
})
