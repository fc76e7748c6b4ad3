import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { packLayer, readLayer, sealLayer } from 'varve/layers'
import { pageSetFromPages } from 'varve/working-sets'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { blobOfFile } from './blob-of-file.js'
import { frameLayer } from './frame-layer.js'
import {
  type FrameCodec,
  frameCodecs,
  frameEntry,
  framesOf,
  hotFramesOf,
  rangeOfFrames,
} from './framed-index.js'
import { openFrame } from './open-frame.js'
import { PagePlaces } from './page-places.js'
import { readFramedIndex } from './read-framed-index.js'
import { unframeLayer } from './unframe-layer.js'

const image = '0102030405060708090a0b0c0d0e0f10'
const parent = '1112131415161718191a1b1c1d1e1f20'

let root: string
let directory: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'varve-framed-'))
})
beforeEach(() => {
  directory = mkdtempSync(join(root, 'test-'))
})
afterAll(() => rmSync(root, { recursive: true }))

/** Each page by what fills it: 0 nothing, 1 to 99 one byte, 100 and more bytes that do not shrink. */
function memoryOf(pages: readonly number[]): Buffer {
  return Buffer.concat(
    pages.map((fill, page) => {
      if (fill < 100) return Buffer.alloc(4096, fill)
      const noise = (i: number) => createHash('sha512').update(`${fill} ${page} ${i}`).digest()
      return Buffer.concat(Array.from({ length: 64 }, (_, i) => noise(i)))
    }),
  )
}

/** A sealed layer of such pages. */
async function layerOf(pages: readonly number[], { base = true, name = 'layer' } = {}) {
  const path = join(directory, name)
  writeFileSync(path, memoryOf(pages))
  return sealLayer(path, { image, parent: base ? null : parent })
}

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Frames it, reads the file as another host would, and writes the layer again. */
async function thereAndBack(
  layer: Awaited<ReturnType<typeof layerOf>>,
  options: Parameters<typeof frameLayer>[2],
) {
  const framed = await frameLayer(layer, join(directory, `${Math.random()}.framed`), options)
  const bytes = readFileSync(framed.path)
  expect(framed).toMatchObject({ sizeBytes: bytes.length, digest: sha256(bytes) })
  await using blob = await blobOfFile(framed.path)
  const expected = { digest: framed.indexDigest, bytes: framed.indexBytes }
  const index = await readFramedIndex(blob, { expected })
  expect(index).toEqual(framed.index)
  expect(await readFramedIndex(blob)).toEqual(index)
  const back = join(directory, `${Math.random()}.layer`)
  await unframeLayer(blob, index, back)
  expect(readFileSync(back).equals(readFileSync(layer.path))).toBe(true)
  return { framed, index }
}

const fills = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 99 }), fc.constant(100))

describe('a framed layer', () => {
  test('gives its layer back byte by byte: flat or packed, base or child, any hot set, any codec', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fills, fc.integer({ min: 1, max: 90 })), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        fc.boolean(),
        fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 400 }), { maxLength: 30 }), { maxLength: 3 }),
        fc.constantFrom(...frameCodecs),
        fc.constantFrom(...frameCodecs),
        async (parts, base, packed, sets, hotCodec, codec) => {
          const pages = parts.flatMap(([fill, count]) => Array<number>(count).fill(fill))
          const name = `${Math.random()}`
          let layer = await layerOf(pages, { base, name })
          if (packed) layer = await packLayer(layer, join(directory, `${name}.packed`), { layout: 'packed' })
          const inside = sets.map((set) => pageSetFromPages(set.filter((page) => page < pages.length)))
          await thereAndBack(layer, { hot: inside, hotCodec, codec })
        },
      ),
      { numRuns: 30 },
    )
  })

  test('keeps the order of a layer that was packed in another one', async () => {
    const layer = await layerOf([1, 2, 3, 0, 4, 100])
    const order = [pageSetFromPages([4]), pageSetFromPages([1, 5])]
    const packed = await packLayer(layer, join(directory, 'packed'), { layout: 'packed', order })
    await thereAndBack(packed, {})
    await thereAndBack(packed, { hot: [pageSetFromPages([2])] })
  })

  test('has the hot set first, in its order, and then the rest', async () => {
    const layer = await layerOf([1, 0, 3, 4, 5, 0, 7])
    const hot = [pageSetFromPages([6, 1]), pageSetFromPages([3, 4, 6])]
    const { index } = await thereAndBack(layer, { hot })
    expect(index).toMatchObject({ layerPages: 7, placedPages: 5, hotPages: 3 })
    const places = new PagePlaces(index)
    expect([0, 1, 2, 3, 4, 5, 6].map((page) => places.placeOf(page))).toEqual([
      3,
      undefined,
      4,
      1,
      2,
      undefined,
      0,
    ])
    expect([...places.pagesOf(0)]).toEqual([
      { page: 6, place: 0, count: 1 },
      { page: 3, place: 1, count: 2 },
      { page: 0, place: 3, count: 1 },
      { page: 2, place: 4, count: 1 },
    ])
  })

  test('stores each frame as it is told, and raw if that does not pay', async () => {
    const layer = await layerOf([...Array<number>(128).fill(100), ...Array<number>(300).fill(7)])
    const hot = [pageSetFromPages(Array.from({ length: 128 }, (_, i) => 128 + i))]
    const { index } = await thereAndBack(layer, { hot })
    expect(hotFramesOf(index)).toBe(1)
    const codecs = Array.from({ length: framesOf(index) }, (_, frame) => frameEntry(index, frame).codec)
    expect(codecs).toEqual(['lz4', 'none', 'zstd', 'zstd', 'zstd'] satisfies FrameCodec[])
  })

  test('brings one page by one small read behind the index', async () => {
    const pages = Array.from({ length: 1000 }, (_, i) => (i % 5 === 0 ? 0 : (i % 99) + 1))
    const layer = await layerOf(pages)
    const framed = await frameLayer(layer, join(directory, 'framed'))
    await using blob = await blobOfFile(framed.path)
    const index = await readFramedIndex(blob)
    const places = new PagePlaces(index)
    for (const page of [1, 499, 998, 999]) {
      const frame = places.frameOf(page) as number
      const raw = await openFrame(index, frame, await blob.read(rangeOfFrames(index, frame)))
      const place = [...places.pagesOf(frame)].find((run) => run.page <= page && page < run.page + run.count)
      if (place === undefined) throw new Error(`page ${page} is not in its frame`)
      const at = (place.place + page - place.page - frame * 128) * 4096
      expect(raw.subarray(at, at + 4096).equals(Buffer.alloc(4096, pages[page]))).toBe(true)
    }
    expect(places.frameOf(500)).toBeUndefined()
  })

  test('is not made of a layer with bytes that its index does not name', async () => {
    const layer = await layerOf([1, 0, 0, 2])
    const bytes = readFileSync(layer.path)
    bytes[2 * 4096 + 7] = 1
    writeFileSync(layer.path, bytes)
    const failed = frameLayer(await readLayer(layer.path), join(directory, 'framed'))
    await expect(failed).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED', details: { page: 2 } })
    expect(readdirSync(directory)).toEqual(['layer'])
  })

  test('is whole or not there: an abort leaves no file, and progress counts to the end', async () => {
    const layer = await layerOf(Array<number>(700).fill(100))
    const abort = new AbortController()
    const seen: number[] = []
    const work = frameLayer(layer, join(directory, 'framed'), {
      signal: abort.signal,
      onProgress: (done) => {
        seen.push(done)
        if (seen.length === 2) abort.abort()
      },
    })
    await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(seen).toHaveLength(2)
    expect(readdirSync(directory)).toEqual(['layer'])
    let last = [0, 1]
    await frameLayer(layer, join(directory, 'framed'), {
      onProgress: (done, total) => {
        last = [done, total]
      },
    })
    expect(last[0]).toBe(last[1])
  })
})
