import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { zeroMap } from '../../layer/compose-extent-map.js'
import { lookupPage, zeroSource } from '../../layer/extent-map.js'
import { pageRange, pageSetFromPages } from '../../memory/make-page-set.js'
import { has } from '../../memory/page-set.js'
import { adviseRandom, dropPageCache } from '../../sys/fadvise.js'
import { residentShare, samplePages } from './sampled-residency.js'

describe('samples', () => {
  /** Pages 0 to 99 zero, 100 to 899 from two layers in turn, ten each; the rest zero. */
  const map = {
    pages: 1000,
    starts: Uint32Array.from([0, ...Array.from({ length: 80 }, (_, i) => 100 + 10 * i), 900]),
    counts: Uint32Array.from([100, ...Array(80).fill(10), 100]),
    sources: Int16Array.from([zeroSource, ...Array.from({ length: 80 }, (_, i) => i % 2), zeroSource]),
    storedStarts: Uint32Array.from([0, ...Array.from({ length: 80 }, (_, i) => 7 + 10 * i), 0]),
  }

  test('are all pages with data where there are few, and 64 evenly spaced ones of many', () => {
    expect(samplePages(zeroMap(1000), pageRange(0, 1000), 0)).toEqual([])
    const few = pageSetFromPages([5, 105, 117, 890, 950])
    expect(samplePages(map, few, 3).map(({ page }) => page)).toEqual([105, 117, 890])
    const many = samplePages(map, pageRange(0, 1000), 800)
    expect(many).toHaveLength(64)
    const gaps = many.slice(1).map(({ page }, i) => page - (many[i]?.page ?? 0))
    expect(new Set(gaps)).toEqual(new Set([12, 13]))
  })

  test('lie where the map says, and in the set', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(999), { maxLength: 600 }), (pages) => {
        const set = pageSetFromPages(pages)
        const samples = samplePages(map, set, set.pages)
        expect(samples.length).toBeLessThanOrEqual(64)
        for (const { page, source, storedPage } of samples) {
          expect(has(set, page)).toBe(true)
          expect(lookupPage(map, page)).toMatchObject({ source, storedPage })
        }
      }),
    )
  })
})

describe('the share in the page cache', () => {
  // On a disk: pages of a tmpfs never leave the page cache.
  let directory: string
  let path: string
  beforeAll(() => {
    directory = mkdtempSync('/var/tmp/varve-share-')
    path = join(directory, 'file')
    writeFileSync(path, Buffer.alloc(256 * 4096, 1))
  })
  afterAll(() => rmSync(directory, { recursive: true }))
  const pages = (of: string) => Array.from({ length: 256 }, (_, page) => ({ path: of, page }))

  test('is none after dropping, a half after reading that, all after reading all', () => {
    const fd = openSync(path, 'r')
    try {
      adviseRandom(fd)
      dropPageCache(fd)
      expect(residentShare(pages(path))).toBe(0)
      readSync(fd, Buffer.alloc(128 * 4096), 0, 128 * 4096, 0)
      expect(residentShare(pages(path))).toBe(0.5)
      readSync(fd, Buffer.alloc(128 * 4096), 0, 128 * 4096, 128 * 4096)
      expect(residentShare(pages(path))).toBe(1)
    } finally {
      closeSync(fd)
    }
  })

  test('is unknown of nothing, and of what cannot be opened; what lies behind the end is not there', () => {
    expect(residentShare([])).toBeNull()
    expect(residentShare(pages(join(directory, 'missing')))).toBeNull()
    expect(residentShare([{ path, page: 256 }])).toBe(0)
  })
})
