import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { pageSetFromPages, pageSetFromRuns } from '../memory/make-page-set.js'
import { pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { compareImages } from './compare-images.js'
import { composeExtentMap } from './compose-extent-map.js'
import { flatten } from './flatten.js'
import { assertFinePages, indexMemoryFile } from './index-memory-file.js'
import { dataPages, zeroPages } from './layer-index.js'
import type { LayerFile, LayerIndex } from './layer-types.js'

const pages = 40
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-layer-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** What a memory file holds in each page: undefined a hole, 0 zero data, else a byte to fill it with. */
type Plan = readonly (number | undefined)[]
const planOf = (values: fc.Arbitrary<number | undefined>) =>
  fc.array(values, { minLength: pages, maxLength: pages })
const plan = planOf(fc.constantFrom(undefined, undefined, 0, 1, 2, 255))

let serial = 0
function memoryFile(content: Plan): string {
  const path = join(directory, `memory-${serial++}`)
  const fd = openSync(path, 'wx', 0o600)
  ftruncateSync(fd, content.length * pageSizeBytes)
  for (const [page, byte] of content.entries())
    if (byte !== undefined)
      writeSync(fd, Buffer.alloc(pageSizeBytes, byte), 0, pageSizeBytes, page * pageSizeBytes)
  closeSync(fd)
  return path
}

interface TestLayer extends LayerFile {
  readonly index: LayerIndex
}

const layerOf = async (content: Plan, level: number): Promise<TestLayer> => {
  const path = memoryFile(content)
  const { index } = await indexMemoryFile(path, { kind: level === 0 ? 'base' : 'diff' })
  return { path, storedPages: content.length, index }
}

const imageOf = (files: readonly TestLayer[]) => ({
  map: composeExtentMap(files.map(({ index }) => index)),
  files,
})

/** The bytes of the composed image, page by page. */
function naiveImage(plans: readonly Plan[]): Buffer {
  const image = Buffer.alloc(pages * pageSizeBytes)
  for (const content of plans)
    for (const [page, byte] of content.entries())
      if (byte !== undefined) image.fill(byte, page * pageSizeBytes, (page + 1) * pageSizeBytes)
  return image
}

const pagesWhere = (content: Plan, test: (value: number | undefined) => boolean): number[] =>
  content.flatMap((value, page) => (test(value) ? [page] : []))

describe('indexMemoryFile', () => {
  test('a base: a hole is zero; a diff: a hole is absent and zero data is zero', async () => {
    await fc.assert(
      fc.asyncProperty(plan, async (content) => {
        const path = memoryFile(content)
        const { index: base } = await indexMemoryFile(path, { kind: 'base' })
        const { index: diff } = await indexMemoryFile(path, { kind: 'diff' })
        const data = pagesWhere(content, (value) => value !== undefined && value !== 0)
        expect([...pagesOf(dataPages(base))]).toEqual(data)
        expect([...pagesOf(dataPages(diff))]).toEqual(data)
        expect([...pagesOf(zeroPages(base))]).toEqual(pagesWhere(content, (value) => !value))
        expect([...pagesOf(zeroPages(diff))]).toEqual(pagesWhere(content, (value) => value === 0))
        expect(base.pages).toBe(pages)
      }),
      { numRuns: 40 },
    )
  })

  test('a page with one set bit anywhere is data', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(2 * pageSizeBytes - 1), fc.nat(7), async (offset, bit) => {
        const path = memoryFile([0, 0])
        const fd = openSync(path, 'r+')
        writeSync(fd, Buffer.of(1 << bit), 0, 1, offset)
        closeSync(fd)
        const { index } = await indexMemoryFile(path, { kind: 'diff' })
        expect([...pagesOf(dataPages(index))]).toEqual([Math.floor(offset / pageSizeBytes)])
      }),
      { numRuns: 40 },
    )
  })

  test('reads more than one chunk and tells how far it is', async () => {
    const content = Array.from({ length: 1300 }, (_, page) => (page % 3 === 0 ? 0 : 7))
    const progress: number[] = []
    const { index } = await indexMemoryFile(memoryFile(content), {
      kind: 'base',
      onProgress: (scanned) => progress.push(scanned),
    })
    expect([...pagesOf(dataPages(index))]).toEqual(pagesWhere(content, (value) => value === 7))
    expect(progress).toEqual([512, 1024, 1300])
  })

  test('refuses what is not a memory file', async () => {
    const odd = join(directory, 'odd')
    writeFileSync(odd, Buffer.alloc(pageSizeBytes + 1))
    const empty = join(directory, 'empty')
    writeFileSync(empty, '')
    const link = join(directory, 'link')
    symlinkSync(memoryFile([1]), link)
    const fifo = join(directory, 'fifo')
    execFileSync('mkfifo', [fifo])
    const index = (path: string) => indexMemoryFile(path, { kind: 'base' })
    await expect(index(odd)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    await expect(index(empty)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    for (const path of [link, fifo, directory])
      await expect(index(path)).rejects.toMatchObject({ code: 'PATH_INVALID' })
    await expect(index(join(directory, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('stops when told to', async () => {
    const path = memoryFile([1])
    const work = indexMemoryFile(path, { kind: 'base', signal: AbortSignal.abort() })
    await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })

  test('this file system has holes of one page', () => {
    expect(() => assertFinePages(directory)).not.toThrow()
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('flatten and compareImages', () => {
  test('the flat file is the naive composition, byte for byte', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 4 }), async (plans) => {
        const layers = await Promise.all(plans.map(layerOf))
        const image = imageOf(layers)
        const flat = join(directory, `flat-${serial++}`)
        const result = await flatten(image, flat)
        const expected = naiveImage(plans)
        expect(readFileSync(flat).equals(expected)).toBe(true)
        expect(result).toMatchObject({ pages, path: flat })
        expect((await compareImages(image, flat)).pages).toBe(0)
      }),
      { numRuns: 30 },
    )
  })

  test('the flat file is private and sparse, and its layers are untouched', async () => {
    const plans: Plan[] = [
      [5, ...Array<undefined>(2000)],
      [undefined, 0, 6, ...Array<undefined>(1998)],
    ]
    const layers = await Promise.all(plans.map(layerOf))
    const before = layers.map(({ path }) => ({ ...statSync(path), atimeMs: 0, atime: 0 }))
    const flat = join(directory, 'flat')
    const result = await flatten(imageOf(layers), flat)
    const stat = statSync(flat)
    expect(stat.mode & 0o777).toBe(0o600)
    expect(stat.size).toBe(2001 * pageSizeBytes)
    expect(result.dataPages).toBe(2)
    expect(stat.blocks * 512).toBeLessThan(20 * pageSizeBytes)
    expect([...pagesOf(dataPages((await indexMemoryFile(flat, { kind: 'diff' })).index))]).toEqual([0, 2])
    expect(layers.map(({ path }) => ({ ...statSync(path), atimeMs: 0, atime: 0 }))).toEqual(before)
    expect(readdirSync(directory).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('copies between file systems, whichever way the kernel allows', async () => {
    const elsewhere = mkdtempSync(join('/dev/shm', 'varve-layer-'))
    try {
      const content = Array.from({ length: 5000 }, (_, page) =>
        page % 2 === 0 ? 1 + (page % 250) : undefined,
      )
      const layers = [await layerOf(content, 0)]
      const image = imageOf(layers)
      const flat = join(elsewhere, 'flat')
      await flatten(image, flat)
      expect((await compareImages(image, flat)).pages).toBe(0)
      expect(readFileSync(flat).equals(readFileSync(layers[0]?.path as string))).toBe(true)
    } finally {
      rmSync(elsewhere, { recursive: true })
    }
  })

  test('refuses an existing target, and leaves it alone', async () => {
    const layers = [await layerOf([1], 0)]
    const flat = join(directory, 'flat')
    writeFileSync(flat, 'mine')
    await expect(flatten(imageOf(layers), flat)).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    expect(readFileSync(flat, 'utf8')).toBe('mine')
  })

  test('two that make the same file at once: one makes it, the other is refused', async () => {
    const layers = [await layerOf(Array<number>(500).fill(3), 0)]
    const image = imageOf(layers)
    const flat = join(directory, 'flat')
    const results = await Promise.allSettled([1, 2, 3].map(() => flatten(image, flat)))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ALREADY_EXISTS' })
    expect((await compareImages(image, flat)).pages).toBe(0)
  })

  test('a truncated layer, a missing one or a stop leaves no file', async () => {
    const layers = await Promise.all(
      [Array<number>(40).fill(1), [undefined, 2, ...Array<undefined>(38)]].map(layerOf),
    )
    const image = imageOf(layers)
    const flat = join(directory, 'flat')
    const stopper = new AbortController()
    const stopped = flatten(image, flat, { signal: stopper.signal, onProgress: () => stopper.abort() })
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' })
    truncateSync(layers[0]?.path as string, 30 * pageSizeBytes)
    await expect(flatten(image, flat)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    await expect(compareImages(image, image)).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
    })
    truncateSync(layers[0]?.path as string, 30 * pageSizeBytes + 1)
    await expect(flatten(image, flat)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    rmSync(layers[0]?.path as string)
    await expect(flatten(image, flat)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(flatten({ ...image, files: layers.slice(0, 1) }, flat)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
    expect(readdirSync(directory).filter((name) => !name.startsWith('memory-'))).toEqual([])
  })

  test('a target in a missing directory is NOT_FOUND', async () => {
    const layers = [await layerOf([1], 0)]
    const work = flatten(imageOf(layers), join(directory, 'none', 'flat'))
    await expect(work).rejects.toMatchObject({ code: 'NOT_FOUND' })
    mkdirSync(join(directory, 'none'))
    await expect(
      flatten({ ...imageOf(layers), files: [] }, join(directory, 'none', 'flat')),
    ).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
  })

  test('compareImages names exactly the pages that differ', async () => {
    const bytes = randomBytes(1200 * pageSizeBytes)
    const a = join(directory, 'a')
    const b = join(directory, 'b')
    writeFileSync(a, bytes)
    const changed = [0, 511, 512, 700, 701, 1199]
    for (const page of changed)
      bytes.writeUInt8(bytes.readUInt8(page * pageSizeBytes + 4095) ^ 1, page * pageSizeBytes + 4095)
    writeFileSync(b, bytes)
    expect(await compareImages(a, b)).toEqual(pageSetFromPages(changed))
    expect(await compareImages(a, a)).toEqual(pageSetFromRuns([]))
    truncateSync(b, 1000 * pageSizeBytes)
    await expect(compareImages(a, b)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
  })
})
