import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile, truncate, writeAt } from '../sys/mutations.js'
import { ChunkChecksums } from './chunk-checksums.js'
import { composeExtentMap } from './compose-extent-map.js'
import { extentMapFromBytes, extentMapToBytes } from './extent-map-bytes.js'
import { openImage } from './image-reader.js'
import { appendFooter, readLayer, verifyLayer } from './layer-file.js'
import { dataPages, storedRuns, zeroPages } from './layer-index.js'
import type { Layer } from './layer-types.js'

/** Written by `node scripts/bench.mjs golden-layers`; page p of each is filled with p + 1. */
const golden = (name: string) =>
  fileURLToPath(new URL(`../../../../test/golden/layers/${name}`, import.meta.url))
const base = '0102030405060708090a0b0c0d0e0f10'
const child = '1112131415161718191a1b1c1d1e1f20'

const expected = [
  {
    name: 'flat-base',
    layout: 'flat',
    image: base,
    parent: null,
    stored: 6,
    data: [0, 1, 4],
    zero: [2, 3, 5],
  },
  { name: 'flat-child', layout: 'flat', image: child, parent: base, stored: 6, data: [1, 3], zero: [4] },
  { name: 'packed-child', layout: 'packed', image: child, parent: base, stored: 2, data: [1, 3], zero: [4] },
  { name: 'empty-child', layout: 'packed', image: child, parent: base, stored: 0, data: [], zero: [] },
] as const

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-golden-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

describe('golden layers', () => {
  test.each(expected)('$name says what it said when version 1 was written', async (it) => {
    const layer = await readLayer(golden(`${it.name}.layer`))
    expect(layer).toMatchObject({
      layout: it.layout,
      image: it.image,
      parent: it.parent,
      storedPages: it.stored,
    })
    expect(layer.index.pages).toBe(6)
    expect([...pagesOf(dataPages(layer.index))]).toEqual(it.data)
    expect([...pagesOf(zeroPages(layer.index))]).toEqual(it.zero)
    await verifyLayer(layer)
  })

  test.each(expected)('$name is written again byte by byte', async (it) => {
    const layer = await readLayer(golden(`${it.name}.layer`))
    const path = join(directory, it.name)
    {
      await using file = await createFile(path)
      truncate(file, layer.storedPages * pageSizeBytes)
      const checksums = new ChunkChecksums()
      for (const { start, storedPage, count } of storedRuns(layer.index))
        for (let i = 0; i < count; i++) {
          const page = Buffer.alloc(pageSizeBytes, start + i + 1)
          writeAt(file, page, (storedPage + i) * pageSizeBytes)
          checksums.add(page)
        }
      appendFooter(file, { ...layer, checksums: checksums.finish() })
    }
    expect(readFileSync(path).equals(readFileSync(golden(`${it.name}.layer`)))).toBe(true)
  })

  test('packed over flat base composes the same image as flat over flat', async () => {
    const layers = (names: readonly string[]) =>
      Promise.all(names.map((name) => readLayer(golden(`${name}.layer`))))
    const bytes = async (files: readonly Layer[]) => {
      await using image = await openImage({ map: composeExtentMap(files.map(({ index }) => index)), files })
      const buffer = Buffer.alloc(6 * pageSizeBytes)
      await image.read(0, buffer)
      return buffer
    }
    const flat = await bytes(await layers(['flat-base', 'flat-child']))
    const packed = await bytes(await layers(['flat-base', 'packed-child']))
    const first = [0, 1, 2, 3, 4, 5].map((page) => flat[page * pageSizeBytes])
    expect(first).toEqual([1, 2, 0, 4, 0, 0])
    expect(packed.equals(flat)).toBe(true)
  })

  test('the extent map of the flat chain', async () => {
    const bytes = readFileSync(golden('chain.map'))
    const map = extentMapFromBytes(bytes, [6, 6], 'chain.map')
    const indexes = await Promise.all(
      ['flat-base', 'flat-child'].map(async (name) => (await readLayer(golden(`${name}.layer`))).index),
    )
    expect(map).toEqual(composeExtentMap(indexes))
    expect(extentMapToBytes(map, 2).equals(bytes)).toBe(true)
  })
})
