import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readLayer, verifyLayer } from 'varve/layers'
import { pageSetFromPages } from 'varve/working-sets'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blobOfFile } from './blob-of-file.js'
import { frameLayer } from './frame-layer.js'
import { frameEntry, framesOf } from './framed-index.js'
import { framedIndexToBytes } from './framed-index-bytes.js'
import { readFramedIndex } from './read-framed-index.js'
import { unframeLayer } from './unframe-layer.js'

/** Written by make.py there. */
const golden = (name: string) =>
  fileURLToPath(new URL(`../../../../test/golden/framed-layers/${name}.framed`, import.meta.url))
const layerFile = (name: string) =>
  fileURLToPath(new URL(`../../../../test/golden/layers/${name}.layer`, import.meta.url))

const expected = [
  {
    name: 'flat-base-raw',
    layer: 'flat-base',
    layerPages: 6,
    hotPages: 1,
    runs: [
      [4, 1],
      [0, 2],
    ],
    codec: 'none',
  },
  {
    name: 'flat-base-lz4',
    layer: 'flat-base',
    layerPages: 6,
    hotPages: 0,
    runs: [
      [0, 2],
      [4, 1],
    ],
    codec: 'lz4',
  },
  {
    name: 'flat-base-zstd',
    layer: 'flat-base',
    layerPages: 6,
    hotPages: 2,
    runs: [
      [1, 1],
      [0, 1],
      [4, 1],
    ],
    codec: 'zstd',
  },
  {
    name: 'packed-child',
    layer: 'packed-child',
    layerPages: 2,
    hotPages: 2,
    runs: [
      [1, 1],
      [0, 1],
    ],
    codec: 'none',
  },
  { name: 'empty-child', layer: 'empty-child', layerPages: 0, hotPages: 0, runs: [], codec: 'none' },
] as const

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-golden-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

describe('golden framed layers', () => {
  test.each(expected)('$name says what it said when version 1 was written', async (it) => {
    await using blob = await blobOfFile(golden(it.name))
    const index = await readFramedIndex(blob)
    const placedPages = it.runs.reduce((sum, [, count]) => sum + count, 0)
    expect(index).toMatchObject({ layerPages: it.layerPages, placedPages, hotPages: it.hotPages })
    expect([...index.runs.pages].map((page, i) => [page, index.runs.counts[i]])).toEqual(it.runs)
    if (placedPages > 0) expect(frameEntry(index, 0).codec).toBe(it.codec)
    const out = join(directory, it.name)
    await unframeLayer(blob, index, out)
    expect(readFileSync(out).equals(readFileSync(layerFile(it.layer)))).toBe(true)
  })

  test.each(['wide-child-lz4', 'wide-child-zstd'])('%s holds a layer of three frames', async (name) => {
    await using blob = await blobOfFile(golden(name))
    const index = await readFramedIndex(blob)
    expect(index).toMatchObject({ layerPages: 300, placedPages: 257, hotPages: 44 })
    expect(framesOf(index)).toBe(4)
    const out = join(directory, name)
    await unframeLayer(blob, index, out)
    const layer = await readLayer(out)
    await verifyLayer(layer)
    const bytes = readFileSync(out)
    for (let page = 0; page < 300; page++)
      expect(bytes[page * 4096 + 100]).toBe(page % 7 === 0 ? 0 : Math.floor(page / 4) + 1)
  })

  test.each([...expected.map(({ name }) => name), 'wide-child-lz4', 'wide-child-zstd'])(
    'the index of %s is written again byte by byte',
    async (name) => {
      await using blob = await blobOfFile(golden(name))
      const index = await readFramedIndex(blob)
      const bytes = framedIndexToBytes(index)
      expect(readFileSync(golden(name)).subarray(-bytes.length).equals(bytes)).toBe(true)
    },
  )

  test.each([
    { name: 'flat-base-raw', layer: 'flat-base', hot: [4] },
    { name: 'packed-child', layer: 'packed-child', hot: [1, 3] },
    { name: 'empty-child', layer: 'empty-child', hot: [] },
  ])('$name, which is stored raw, is written again byte by byte', async ({ name, layer, hot }) => {
    const out = join(directory, `${name}-again`)
    await frameLayer(await readLayer(layerFile(layer)), out, {
      hot: hot.length === 0 ? [] : hot.map((page) => pageSetFromPages([page])),
      hotCodec: 'none',
      codec: 'none',
    })
    expect(readFileSync(out).equals(readFileSync(golden(name)))).toBe(true)
  })
})
