import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packSnapshot } from 'varve'
import { readLayer, storedRuns } from 'varve/layers'
import {
  emptyPageSet,
  fitWorkingSet,
  pageRange,
  pageSetFromPages,
  readWorkingSet,
  type WorkingSet,
} from 'varve/working-sets'
import { expect, test } from 'vitest'
import { addSnapshot, code, imageOf, pageBytes, pages, readImage } from '../store-world.js'
import { a, b, type Current, c } from './store-under-test.js'

/** Archives, and working sets that snapshots keep. */
export function storeTransfer(current: Current): void {
  test('export and import: another store has the same snapshots, bytes and names', async () => {
    const { store, scratch, chain, make } = current()
    const { base, two } = await chain()
    const path = join(scratch, 'two.tar')
    const { bytes } = await store.exportTo(['two', 'base'], path)
    expect(readFileSync(path)).toHaveLength(bytes)
    expect(await code(store.exportTo(['two'], path))).toBe('ALREADY_EXISTS')
    const other = await make()
    try {
      const mine = await addSnapshot(other.store, c, { tags: ['latest'] })
      const imported = await other.store.importFrom(path)
      expect(imported.map(({ id }) => id).sort()).toEqual([base.id, two.id].sort())
      expect((await readImage(other.store, 'two', scratch)).equals(imageOf([a, b, c]))).toBe(true)
      expect((await readImage(other.store, 'base', scratch)).equals(imageOf([a]))).toBe(true)
      // A name that another caller has stays theirs.
      expect((await other.store.resolve('latest')).id).toBe(mine.id)
      expect((await other.store.resolve('two')).tags).toEqual(['two'])
      expect((await other.store.fsck()).findings).toEqual([])
      expect((await other.store.importFrom(path)).map(({ id }) => id).sort()).toEqual(
        [base.id, two.id].sort(),
      )
      expect((await other.store.list()).length).toBe(3)
    } finally {
      await other.close()
    }
  })

  test('working sets are read by REF:NAME, and fit children, archives and packs of children', async () => {
    const { store, scratch, image, clean, chain } = current()
    const { one, two } = await chain()
    const workingSet: WorkingSet = {
      image: one.id,
      pages,
      recordedAtMs: 1,
      windowMs: 2,
      readOnly: pageRange(0, pages),
      written: emptyPageSet,
      groups: [],
      notes: {},
    }
    await store.saveWorkingSet('one', 'all', workingSet)
    expect(await store.readWorkingSet('one:all')).toEqual(workingSet)
    expect(await store.readWorkingSet(one.id, 'all')).toEqual(workingSet)
    expect(await code(store.readWorkingSet('one:none'))).toBe('NOT_FOUND')
    expect(await code(store.readWorkingSet('two', 'all'))).toBe('NOT_FOUND')
    for (const text of ['one', 'one:', ':all', 'one:all:all'])
      expect(await code(store.readWorkingSet(text)), text).toBe('INVALID_ARGUMENT')

    const snapshot = await store.open('two')
    const fitted = await fitWorkingSet(store, snapshot, 'one:all')
    await snapshot[Symbol.asyncDispose]()
    // Pages that the plan of the child writes are others there.
    const rewritten = c.filter((byte) => byte !== undefined).length
    expect(fitted.workingSet.image).toBe(two.id)
    expect(fitted.droppedPages).toBeGreaterThan(0)
    expect(fitted.droppedPages).toBeLessThanOrEqual(rewritten)

    const path = join(scratch, 'one-all.tar')
    await store.exportTo(['one', 'two'], path, { workingSet: 'one:all' })
    expect(await code(store.exportTo(['base'], `${path}2`, { workingSet: 'one:all' }))).toBe('IMAGE_MISMATCH')
    const packed = await packSnapshot(store, 'two', { workingSet: 'one:all' })
    expect(packed).toMatchObject({ id: two.id, layout: 'packed', layers: 3, packed: 3, others: [] })
    expect(await code(packSnapshot(store, 'base', { workingSet: 'one:all' }))).toBe('IMAGE_MISMATCH')
    expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
    expect((await clean()).filter(({ severity }) => severity === 'error')).toEqual([])
  })

  test('working sets are kept with a snapshot by name, exported first with their pages, and fit one image only', async () => {
    const { store, scratch, image, clean, chain, make } = current()
    const { base, two } = await chain()
    const workingSet: WorkingSet = {
      image: two.id,
      pages,
      recordedAtMs: 1,
      windowMs: 2,
      readOnly: pageSetFromPages([40, 41, 3, 7]),
      written: pageSetFromPages([20]),
      groups: [
        { atMs: 1, set: pageSetFromPages([41, 40]) },
        { atMs: 2, set: pageSetFromPages([3]) },
      ],
      notes: {},
    }
    await store.saveWorkingSet('two', 'hello', { ...workingSet, windowMs: 99 })
    await store.saveWorkingSet('two', 'other', workingSet)
    const entry = await store.saveWorkingSet('two', 'hello', workingSet)
    expect(entry).toMatchObject({ id: two.id, tags: ['two', 'latest'] })
    expect((await store.describe('two')).workingSets.map(({ name }) => name)).toEqual(['other', 'hello'])
    expect(await code(store.saveWorkingSet('one', 'hello', workingSet))).toBe('IMAGE_MISMATCH')
    expect(await code(store.saveWorkingSet('two', '../x', workingSet))).toBe('INVALID_ARGUMENT')
    expect(await code(store.removeWorkingSet('two', 'none'))).toBe('NOT_FOUND')
    await store.removeWorkingSet('two', 'other')
    await store.gc()
    expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
    expect(await clean()).toEqual([])

    const path = join(scratch, 'hot.tar')
    expect(await code(store.exportTo(['two', 'base'], path, { workingSet: 'hello' }))).toBe('NOT_FOUND')
    await store.exportTo(['two'], path, { workingSet: 'hello' })
    const other = await make()
    try {
      await other.store.importFrom(path)
      const opened = await other.store.open('two')
      const kept = await readWorkingSet(opened.workingSetFiles[0]?.path as string)
      expect(kept).toEqual(workingSet)
      await opened[Symbol.asyncDispose]()
      expect((await other.store.fsck()).findings).toEqual([])
    } finally {
      await other.close()
    }
    // In the archive the pages come before any layer, in the order of first touch.
    const names = execFileSync('tar', ['tf', path], { encoding: 'utf8' }).split('\n')
    const out = join(scratch, 'unpacked')
    mkdirSync(out)
    execFileSync('tar', ['xf', path, '-C', out])
    const index = JSON.parse(readFileSync(join(out, 'index.json'), 'utf8')) as {
      manifests: { mediaType: string; digest: string }[]
    }
    const hot = index.manifests.find(({ mediaType }) => mediaType.includes('hot-pages'))?.digest.slice(7)
    const [bottom] = (await store.describe('two')).layers
    const place = (hex: string | undefined) => names.indexOf(`blobs/sha256/${hex}`)
    expect(place(hot)).toBeGreaterThan(0)
    expect(place(hot)).toBeLessThan(place(bottom?.digest.slice(7)))
    const hotLayer = await readLayer(join(out, `blobs/sha256/${hot}`))
    expect(hotLayer).toMatchObject({ image: two.id, parent: two.id, layout: 'packed' })
    const expected = imageOf([a, b, c])
    const isData = (page: number) => expected[page * pageBytes] !== 0
    expect(
      storedRuns(hotLayer.index).flatMap(({ start, count }) =>
        Array.from({ length: count }, (_, i) => start + i),
      ),
    ).toEqual([40, 41, 3, 7, 20].filter(isData))
    // GNU tar and we agree on every byte, holes included.
    for (const name of names.filter((it) => /sha256\/./.test(it))) {
      const hex = name.slice(-64)
      expect(
        createHash('sha256')
          .update(readFileSync(join(out, name)))
          .digest('hex'),
      ).toBe(hex)
    }
    expect(base.id).not.toBe(two.id)
  })
}
