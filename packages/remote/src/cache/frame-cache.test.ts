import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { sealLayer } from 'varve/layers'
import { type Mutation, observeMutations } from 'varve/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { blobOfFile } from '../framed/blob-of-file.js'
import { type FramedLayer, frameLayer } from '../framed/frame-layer.js'
import { framesOf, rangeOfFrames } from '../framed/framed-index.js'
import type { BringFrame, CachedBlob } from './cached-blob.js'
import { openFrameCache } from './frame-cache.js'
import { pinBlob } from './pin-blob.js'

const pages = 700

let root: string
let directory: string
/** Two framed layers, and the layers in them. */
const framed: FramedLayer[] = []
const layers: Buffer[] = []

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'varve-cache-'))
  for (const seed of [1, 2]) {
    const path = join(root, `layer-${seed}`)
    // Every fifth page is zero; the others do not shrink.
    const noise = (page: number) =>
      Array.from({ length: 64 }, (_, i) => createHash('sha512').update(`${seed} ${page} ${i}`).digest())
    writeFileSync(
      path,
      Buffer.concat(
        Array.from({ length: pages }, (_, page) =>
          page % 5 === 0 ? Buffer.alloc(4096) : Buffer.concat(noise(page)),
        ),
      ),
    )
    const layer = await sealLayer(path, { image: `${seed}`.repeat(32), parent: null })
    framed.push(await frameLayer(layer, join(root, `framed-${seed}`)))
    layers.push(readFileSync(path))
  }
})
beforeEach(() => {
  directory = join(mkdtempSync(join(root, 'test-')), 'cache')
})
afterAll(() => rmSync(root, { recursive: true }))

const one = () => framed[0] as FramedLayer
const folderOf = (of: FramedLayer) => join(directory, 'blobs', of.digest.slice(7))

/** Brings frames from the file, and counts which. */
function bringer(of: FramedLayer): { readonly bring: BringFrame; readonly brought: number[] } {
  const brought: number[] = []
  const bring = async (frame: number) => {
    brought.push(frame)
    await using blob = await blobOfFile(of.path)
    return blob.read(rangeOfFrames(of.index, frame))
  }
  return { bring, brought }
}

const noNetwork = () => Promise.reject(new Error('the network was asked'))
const allOf = (blob: CachedBlob) => Array.from({ length: framesOf(blob.index) }, (_, frame) => frame)
const fill = async (blob: CachedBlob, bring: BringFrame) => {
  await Promise.all(allOf(blob).map((frame) => blob.need(frame, bring)))
}

describe('a frame cache', () => {
  test('becomes the layer, and then needs no network', async () => {
    {
      await using cache = await openFrameCache(directory)
      await using blob = await cache.open(one().digest, async () => one().index)
      expect([blob.framesHere, blob.whole]).toEqual([0, false])
      await fill(blob, bringer(one()).bring)
      expect(blob.whole).toBe(true)
      expect(readFileSync(blob.layerPath).equals(layers[0] as Buffer)).toBe(true)
    }
    await using cache = await openFrameCache(directory)
    await using blob = await cache.open(one().digest, noNetwork)
    expect(blob.whole).toBe(true)
    await fill(blob, noNetwork)
    const page = Buffer.alloc(4096)
    await blob.read(403, page)
    expect(page.equals((layers[0] as Buffer).subarray(403 * 4096, 404 * 4096))).toBe(true)
  })

  test('brings a frame once, however many ask at once', async () => {
    await using cache = await openFrameCache(directory)
    await using blob = await cache.open(one().digest, async () => one().index)
    const { bring, brought } = bringer(one())
    await Promise.all(Array.from({ length: 20 }, (_, i) => blob.need(i % 2, bring)))
    await blob.need(0, bring)
    expect(brought).toEqual([0, 1])
  })

  test('goes on bringing a frame that the first one to ask has given up', async () => {
    await using cache = await openFrameCache(directory)
    await using blob = await cache.open(one().digest, async () => one().index)
    const { bring, brought } = bringer(one())
    let begin = () => {}
    const begun = new Promise<void>((resolve) => {
      begin = resolve
    })
    const slow: BringFrame = async (frame) => {
      await begun
      return bring(frame)
    }
    const abort = new AbortController()
    const first = blob.need(2, slow, { signal: abort.signal })
    const second = blob.need(2, slow)
    abort.abort()
    await expect(first).rejects.toMatchObject({ code: 'INTERRUPTED' })
    begin()
    await second
    expect([blob.has(2), brought]).toEqual([true, [2]])
  })

  test('takes no wrong bytes, and asks again the next time', async () => {
    await using cache = await openFrameCache(directory)
    await using blob = await cache.open(one().digest, async () => one().index)
    const { bring } = bringer(one())
    const wrong: BringFrame = async (frame) => Buffer.from(await bring(frame)).fill(0, 100, 101)
    const short: BringFrame = async (frame) => (await bring(frame)).subarray(1)
    for (const bad of [wrong, short])
      await expect(blob.need(1, bad)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
    await expect(blob.need(1, noNetwork)).rejects.toThrow('the network was asked')
    expect(blob.has(1)).toBe(false)
    await blob.need(1, bring)
    expect(blob.has(1)).toBe(true)
    for (const none of [-1, 1.5, framesOf(blob.index)])
      await expect(blob.need(none, bring)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('marks a frame only after it was written and synced', async () => {
    const trace: Mutation[] = []
    await using cache = await openFrameCache(directory)
    const blob = await cache.open(one().digest, async () => one().index)
    observeMutations((mutation) => trace.push(mutation))
    try {
      for (const frame of allOf(blob)) await blob.need(frame, bringer(one()).bring)
      await blob[Symbol.asyncDispose]()
    } finally {
      observeMutations(undefined)
    }
    const kinds = trace.map(({ kind, path }) => `${kind} ${path.split('/').at(-1)}`)
    const marks = kinds.flatMap((it, at) => (it === 'write frames' ? [at] : []))
    expect(marks).toHaveLength(framesOf(blob.index))
    const firstMark = marks[0] as number
    expect(kinds.indexOf('write layer')).toBeLessThan(kinds.indexOf('fsync layer'))
    expect(kinds.indexOf('fsync layer')).toBeLessThan(firstMark)
    // The last mark comes behind a sync of the last frame.
    expect(kinds.lastIndexOf('write layer')).toBeLessThan(kinds.lastIndexOf('fsync layer'))
    expect(kinds.lastIndexOf('fsync layer')).toBeLessThan(marks.at(-1) as number)
  })

  /** Fails the changes of one kind on the layer's file, from now on. */
  function failing(kind: Mutation['kind']): Disposable {
    observeMutations((mutation) => {
      if (mutation.kind === kind && mutation.path.endsWith('/layer'))
        throw new VarveError('WRITE_FAILED', `no ${kind}: disk full`)
    })
    return { [Symbol.dispose]: () => observeMutations(undefined) }
  }

  test('does not have a frame that could not be written, and has it once it could', async () => {
    await using cache = await openFrameCache(directory)
    await using blob = await cache.open(one().digest, async () => one().index)
    const { bring } = bringer(one())
    {
      using _full = failing('write')
      await expect(blob.need(0, bring)).rejects.toMatchObject({ code: 'WRITE_FAILED' })
    }
    expect(blob.has(0)).toBe(false)
    await blob.need(0, bring)
    expect(blob.has(0)).toBe(true)
  })

  test('takes no more frames once a sync has failed, and marks none of those', async () => {
    await using cache = await openFrameCache(directory)
    const blob = await cache.open(one().digest, async () => one().index)
    const { bring } = bringer(one())
    {
      using _full = failing('fsync')
      await blob.need(0, bring)
      await expect.poll(() => blob.need(1, bring).catch((error) => error.code)).toBe('WRITE_FAILED')
      await expect(blob[Symbol.asyncDispose]()).rejects.toMatchObject({ code: 'WRITE_FAILED' })
    }
    await using again = await cache.open(one().digest, noNetwork)
    expect(again.framesHere).toBe(0)
  })

  test('counts damage as not here: a mark, an index, a layer that was cut', async () => {
    const open = async (work: (blob: CachedBlob) => Promise<void>, readIndex = async () => one().index) => {
      await using cache = await openFrameCache(directory)
      await using blob = await cache.open(one().digest, readIndex)
      await work(blob)
    }
    await open((blob) => fill(blob, bringer(one()).bring))
    const marks = join(folderOf(one()), 'frames')
    const bytes = readFileSync(marks)
    bytes[64 + 4 * 2] = (bytes[64 + 4 * 2] as number) ^ 0x10
    writeFileSync(marks, bytes)
    await open(async (blob) => {
      expect(allOf(blob).filter((frame) => !blob.has(frame))).toEqual([2])
      const { bring, brought } = bringer(one())
      await fill(blob, bring)
      expect(brought).toEqual([2])
    }, noNetwork)

    for (const damage of [
      () => truncateSync(join(folderOf(one()), 'layer'), 4096),
      () => truncateSync(marks, 100),
      () => rmSync(join(folderOf(one()), 'pin')),
      () => rmSync(join(folderOf(one()), 'layer')),
      () => writeFileSync(join(folderOf(one()), 'index'), Buffer.alloc(300)),
    ]) {
      damage()
      await open(async (blob) => {
        expect(blob.framesHere).toBe(0)
        await fill(blob, bringer(one()).bring)
      })
      expect(readdirSync(directory).sort()).toEqual(['blobs', 'writer'])
    }
    await open(async (blob) => expect(blob.whole).toBe(true), noNetwork)
  })

  test('of a later version is left alone', async () => {
    {
      await using cache = await openFrameCache(directory)
      await using _blob = await cache.open(one().digest, async () => one().index)
    }
    const marks = join(folderOf(one()), 'frames')
    const bytes = readFileSync(marks)
    bytes[8] = 2
    writeFileSync(marks, bytes)
    await using cache = await openFrameCache(directory)
    await expect(cache.open(one().digest, noNetwork)).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
    expect(existsSync(marks)).toBe(true)
  })

  test('has one writer', async () => {
    const first = await openFrameCache(directory)
    await expect(openFrameCache(directory)).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    await first[Symbol.asyncDispose]()
    await using _second = await openFrameCache(directory)
  })

  test('gives back what was pinned longest ago, and never what is pinned', async () => {
    const two = framed[1] as FramedLayer
    {
      await using cache = await openFrameCache(directory)
      for (const it of framed) {
        await using blob = await cache.open(it.digest, async () => it.index)
        await fill(blob, bringer(it).bring)
      }
      expect((await cache.usage()).blobs).toBe(2)
    }
    utimesSync(join(folderOf(two), 'index'), new Date(1000), new Date(1000))
    await using cache = await openFrameCache(directory, { limitBytes: 3 * 2 ** 20 })
    const pin = await pinBlob(folderOf(two))
    expect(pin).toBeDefined()
    // The older one is pinned: the other one goes.
    expect(await cache.makeRoom()).toBe(1)
    expect([existsSync(folderOf(one())), existsSync(folderOf(two))]).toEqual([false, true])
    expect(await pinBlob(folderOf(one()))).toBeUndefined()
    expect(await cache.makeRoom()).toBe(0)
    await using blob = await cache.open(one().digest, async () => one().index)
    expect(blob.framesHere).toBe(0)
    await fill(blob, bringer(one()).bring)
    // Both are pinned: above the limit, both stay.
    expect(await cache.makeRoom()).toBe(0)
    await pin?.[Symbol.asyncDispose]()
    expect(await cache.makeRoom()).toBe(1)
    expect([existsSync(folderOf(one())), existsSync(folderOf(two))]).toEqual([true, false])
    expect(readdirSync(directory).sort()).toEqual(['blobs', 'writer'])
  })

  test('opens a new blob though it is full, and keeps it', async () => {
    const two = framed[1] as FramedLayer
    {
      await using cache = await openFrameCache(directory)
      await using blob = await cache.open(one().digest, async () => one().index)
      await fill(blob, bringer(one()).bring)
    }
    const held = await pinBlob(folderOf(one()))
    await using cache = await openFrameCache(directory, { limitBytes: 1 })
    {
      await using blob = await cache.open(two.digest, async () => two.index)
      expect([blob.framesHere, (await cache.usage()).blobs]).toEqual([0, 2])
    }
    await held?.[Symbol.asyncDispose]()
    await using _again = await cache.open(two.digest, noNetwork)
    await using blob = await cache.open(one().digest, noNetwork)
    expect(blob.whole).toBe(true)
  })

  test('makes a blob once, however many open it at once', async () => {
    await using cache = await openFrameCache(directory)
    let read = 0
    const readIndex = async () => {
      read++
      return one().index
    }
    const blobs = await Promise.all([1, 2, 3].map(() => cache.open(one().digest, readIndex)))
    for (const blob of blobs) await blob[Symbol.asyncDispose]()
    expect([read, (await cache.usage()).blobs]).toEqual([1, 1])
    expect(readdirSync(directory).sort()).toEqual(['blobs', 'writer'])
  })

  test('gives blobs back while they are opened, and opens them all', async () => {
    await using cache = await openFrameCache(directory, { limitBytes: 1 })
    for (let round = 0; round < 20; round++) {
      const opened = await Promise.all(
        [...framed, ...framed].map((it) => cache.open(it.digest, async () => it.index)),
      )
      for (const blob of opened) await blob[Symbol.asyncDispose]()
      await Promise.all([cache.makeRoom(), cache.open(one().digest, async () => one().index)]).then(
        ([, blob]) => blob[Symbol.asyncDispose](),
      )
    }
    expect((await cache.usage()).blobs).toBeGreaterThan(0)
  })
})
