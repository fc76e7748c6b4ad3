import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packSnapshot, squashSnapshot } from 'varve'
import { compareImages, packLayer, readLayer, squashLayers } from 'varve/layers'
import { expect, test } from 'vitest'
import { addSnapshot, code, imageOf, type Plan, pages } from '../store-world.js'
import { a, b, type Current, c } from './store-under-test.js'

/** Other layers for the same image: relayer, squash, pack, and what `usage` says of layers. */
export function storeLayers(current: Current): void {
  test('other layers for the same image: the snapshot keeps its id, tags, children and bytes', async () => {
    const { store, image, clean, chain } = current()
    const { base, one, two } = await chain()
    const staging = await store.stage()
    const opened = await store.open('two')
    const layers = await Promise.all(opened.files.map(({ path }) => readLayer(path)))
    const squashed = await squashLayers(layers.slice(1), join(staging.directory, 'squashed'))
    const [bottom] = (await store.describe('two')).layers
    const entry = await store.relayer('two', [bottom as NonNullable<typeof bottom>, { path: squashed.path }])
    expect(entry).toMatchObject({ id: two.id, tags: ['two', 'latest'], parent: one.id })
    expect(entry.manifest.digest).not.toBe(two.manifest.digest)
    const packed = await packLayer(layers[0] as (typeof layers)[0], join(staging.directory, 'packed'), {
      layout: 'packed',
    })
    await store.relayer('base', [{ path: packed.path }])
    await staging[Symbol.asyncDispose]()
    expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
    expect((await image('base')).equals(imageOf([a]))).toBe(true)
    expect((await store.describe('two')).layers).toHaveLength(2)
    // The one opened before still has its files.
    await store.gc()
    expect((await compareImages(opened, opened)).pages).toBe(0)
    for (const { path } of opened.files) readFileSync(path)
    await opened[Symbol.asyncDispose]()
    await store.gc()
    expect(await clean()).toEqual([])
    const child = await addSnapshot(store, a, { parent: two.id, tags: ['three'] })
    expect((await image(child.id)).equals(imageOf([a, b, c, a]))).toBe(true)
    // Layers that make another image are refused.
    const foreign = (await store.describe('base')).layers
    expect(await code(store.relayer('two', foreign))).toBe('IMAGE_MISMATCH')
    expect(base.id).not.toBe(two.id)
  })

  test('squash and pack by reference: a run of layers, and every snapshot that has them', async () => {
    const { store, image, clean, chain } = current()
    const { base, one, two } = await chain()
    expect(await squashSnapshot(store, 'base')).toEqual({
      id: base.id,
      layers: 1,
      squashed: 0,
      layer: null,
      others: [],
    })
    expect(await code(squashSnapshot(store, 'base', { above: 'two' }))).toBe('INVALID_ARGUMENT')
    expect(await code(squashSnapshot(store, 'two', { above: 'one', upTo: 'base' }))).toBe('INVALID_ARGUMENT')
    const squashed = await squashSnapshot(store, 'two', { upTo: 'one', all: true })
    expect(squashed).toMatchObject({ id: two.id, layers: 2, squashed: 2, others: [one.id] })
    expect((await store.describe('one')).layers.length).toBe(1)
    expect(await code(packSnapshot(store, 'two', { layout: 'flat', workingSet: 'x' }))).toBe(
      'INVALID_ARGUMENT',
    )
    expect(await packSnapshot(store, 'two', { layout: 'packed', all: true })).toMatchObject({
      layers: 2,
      packed: 2,
      others: [one.id],
    })
    expect(await packSnapshot(store, 'two')).toMatchObject({ packed: 0, dataPages: 0 })
    await store.gc()
    expect((await image('one')).equals(imageOf([a, b]))).toBe(true)
    expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
    expect(await clean()).toEqual([])
  })

  test('du tells data, zero, inherited, duplicate and really changed pages of each layer', async () => {
    const { store } = current()
    const plan = (byte: number | undefined): Plan =>
      Array.from({ length: pages }, (_, page) => (page < 8 ? byte : undefined))
    const base = await addSnapshot(store, plan(5), { tags: ['base'] })
    // Writes four pages as they were, four new ones, and two zeros where zeros are.
    const child: Plan = Array.from({ length: pages }, (_, page) =>
      page < 4 ? 5 : page < 8 ? 9 : page < 10 ? 0 : undefined,
    )
    await addSnapshot(store, child, { parent: base.id, tags: ['child'] })
    const rows = await store.usage({ deep: true })
    expect(rows).toMatchObject([
      {
        dataPages: 8,
        zeroPages: pages - 8,
        inheritedPages: 0,
        duplicatePages: 8,
        changedPages: 8,
        usedBy: 2,
      },
      {
        dataPages: 8,
        zeroPages: 2,
        inheritedPages: pages - 10,
        duplicatePages: 8,
        changedPages: 4,
        usedBy: 1,
      },
    ])
    expect((await store.usage({ ref: 'base' })).map(({ duplicatePages }) => duplicatePages)).toEqual([null])
  })
}
