import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { adviseRandom, dropPageCache } from '../sys/fadvise.js'
import { residentPages } from '../sys/mincore.js'
import { pageSetFromBytes, pageSetFromPages, pagesOf } from './page-set.js'
import { intersect } from './page-set-algebra.js'
import { residentOfSet } from './residency.js'

test('of any set the same pages are resident as mincore says of the whole file', () => {
  // Not os.tmpdir(): a tmpfs drops nothing.
  const directory = mkdtempSync('/var/tmp/varve-residency-')
  const path = join(directory, 'file')
  const pages = 600
  writeFileSync(path, Buffer.alloc(pages * 4096, 1))
  const fd = openSync(path, 'r')
  try {
    dropPageCache(fd)
    adviseRandom(fd)
    const page = Buffer.alloc(4096)
    for (const number of [0, 3, 4, 5, 100, 101, 300, 350, 599]) readSync(fd, page, 0, 4096, number * 4096)
    const whole = pageSetFromBytes(residentPages(fd))
    expect(whole.pages).toBeGreaterThan(8)
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(pages - 1), { maxLength: 80 }), (numbers) => {
        const set = pageSetFromPages(numbers)
        expect([...pagesOf(residentOfSet(fd, set))]).toEqual([...pagesOf(intersect(set, whole))])
      }),
    )
    expect([...pagesOf(residentOfSet(fd, pageSetFromPages([599, 600, 10_000])))]).toEqual([599])
  } finally {
    closeSync(fd)
    rmSync(directory, { recursive: true })
  }
})
