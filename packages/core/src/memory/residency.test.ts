import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { adviseRandom, dropPageCache } from '../sys/fadvise.js'
import { openResidency, residentPages } from '../sys/mincore.js'
import { pageSetFromBytes, pageSetFromPages } from './make-page-set.js'
import { pagesOf } from './page-set.js'
import { intersect } from './page-set-algebra.js'
import { residentBeside } from './residency.js'

test('of any set the same pages are resident as mincore says of the whole file', async () => {
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
    using residency = openResidency(fd)
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(pages - 1), { maxLength: 80 }), async (numbers) => {
        const set = pageSetFromPages(numbers)
        const expected = [...pagesOf(intersect(set, whole))]
        expect([...pagesOf(await residentBeside(residency, set))]).toEqual(expected)
      }),
    )
    const behind = pageSetFromPages([599, 600, 10_000])
    expect([...pagesOf(await residentBeside(residency, behind))]).toEqual([599])
  } finally {
    closeSync(fd)
    rmSync(directory, { recursive: true })
  }
})
