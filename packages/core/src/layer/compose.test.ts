import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
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
import { observeMutations } from '../sys/mutations.js'
import { compareImages } from './compare-images.js'
import { composeExtentMap } from './compose-extent-map.js'
import { flatten } from './flatten.js'
import { type Image, openImage } from './image-reader.js'
import { readLayer, sealLayer, sealPacked, verifyLayer } from './layer-file.js'
import { dataPages, zeroPages } from './layer-index.js'
import type { Layer } from './layer-types.js'
import { packLayer } from './pack.js'
import { type NamedImage, rebaseLayer } from './rebase.js'
import { squashLayers } from './squash.js'

const pages = 40
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-compose-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

let serial = 0
const fresh = (name: string) => join(directory, `${name}-${serial++}`)
const idOf = (level: number) => (level + 1).toString(16).padStart(32, '0')

/**
 * What a memory file holds in each page: undefined a hole, 0 zero data, else what
 * its first word and the rest say.
 */
type Plan = readonly (number | undefined)[]
const plan = fc.array(fc.constantFrom(undefined, undefined, undefined, 0, 1, 2, 3), {
  minLength: pages,
  maxLength: pages,
})
/** A chain: what each level says, and whether its file is packed. */
const chain = fc.array(fc.tuple(plan, fc.boolean()), { minLength: 1, maxLength: 5 })

function fillPage(buffer: Buffer, page: number, value: number): void {
  buffer.fill(value, page * pageSizeBytes, (page + 1) * pageSizeBytes)
  // So that a page copied to the wrong place is not a right one by chance.
  if (value !== 0) buffer.writeUInt32LE(page + 1, page * pageSizeBytes)
}

function memoryFile(content: Plan): string {
  const path = fresh('memory')
  const bytes = Buffer.alloc(content.length * pageSizeBytes)
  const fd = openSync(path, 'wx', 0o600)
  ftruncateSync(fd, bytes.length)
  for (const [page, value] of content.entries())
    if (value !== undefined) {
      fillPage(bytes, page, value)
      writeSync(fd, bytes, page * pageSizeBytes, pageSizeBytes, page * pageSizeBytes)
    }
  closeSync(fd)
  return path
}

async function layersOf(plans: readonly (readonly [Plan, boolean])[], firstLevel = 0): Promise<Layer[]> {
  const layers: Layer[] = []
  for (const [i, [content, packed]] of plans.entries()) {
    const level = firstLevel + i
    const options = { image: idOf(level), parent: level === 0 ? null : idOf(level - 1) }
    const path = memoryFile(content)
    layers.push(await (packed ? sealPacked(path, fresh('packed'), options) : sealLayer(path, options)))
  }
  return layers
}

const imageOf = (files: readonly Layer[]): NamedImage => ({
  id: (files.at(-1) as Layer).image,
  map: composeExtentMap(files.map(({ index }) => index)),
  files,
})

/** The bytes of the composed image, page by page. */
function naiveImage(plans: readonly Plan[]): Buffer {
  const image = Buffer.alloc((plans[0] as Plan).length * pageSizeBytes)
  for (const content of plans)
    for (const [page, value] of content.entries()) if (value !== undefined) fillPage(image, page, value)
  return image
}

async function bytesOf(image: Image): Promise<Buffer> {
  await using open = await openImage(image)
  const bytes = Buffer.alloc(open.pages * pageSizeBytes)
  await open.read(0, bytes)
  return bytes
}

/** What must not change about files that are only read. */
const stateOf = (files: readonly Layer[]) =>
  files.map(({ path }) => {
    const { mtimeMs, ctimeMs, size, ino, mode } = statSync(path)
    return { mtimeMs, ctimeMs, size, ino, mode, bytes: readFileSync(path).toString('base64') }
  })

async function expectSound(layer: Layer, path: string): Promise<void> {
  const { copied: _copied, ...plain } = layer as Layer & { copied?: unknown }
  expect(plain.path).toBe(path)
  expect(await readLayer(path)).toEqual(plain)
  await verifyLayer(layer)
  expect(statSync(path)).toMatchObject({ nlink: 1, size: layer.sizeBytes })
  expect(statSync(path).mode & 0o777).toBe(0o600)
}

describe('squashLayers', () => {
  test('any stretch of any chain: the images above stay what they were, the files below too', async () => {
    const stretch = fc.tuple(fc.nat(4), fc.nat(4), fc.constantFrom('flat', 'packed', undefined))
    await fc.assert(
      fc.asyncProperty(chain, stretch, async (plans, [a, b, layout]) => {
        const layers = await layersOf(plans)
        const [from, to] = [Math.min(a, b), Math.max(a, b)].map((it) => it % layers.length) as [
          number,
          number,
        ]
        const [first, last] = [Math.min(from, to), Math.max(from, to)]
        const squashed = layers.slice(first, last + 1)
        const before = stateOf(layers)
        const path = fresh('squashed')
        const layer = await squashLayers(squashed, path, { layout })
        await expectSound(layer, path)
        expect(stateOf(layers)).toEqual(before)
        expect(layer).toMatchObject({
          image: idOf(last),
          parent: first === 0 ? null : idOf(first - 1),
          layout: layout ?? (first === 0 ? 'flat' : 'packed'),
        })
        const rest = [...layers.slice(0, first), layer, ...layers.slice(last + 1)]
        const expected = naiveImage(plans.map(([content]) => content))
        expect((await bytesOf(imageOf(rest))).equals(expected)).toBe(true)
        // And what it says by itself: the topmost that says anything, absent if none does.
        const said = (page: number) =>
          plans.slice(first, last + 1).reduce<number | undefined>((below, [content]) => {
            return content[page] ?? below
          }, undefined)
        const all = Array.from({ length: pages }, (_, page) => page)
        expect([...pagesOf(dataPages(layer.index))]).toEqual(all.filter((page) => said(page)))
        const zero = all.filter((page) => said(page) === 0 || (first === 0 && said(page) === undefined))
        expect([...pagesOf(zeroPages(layer.index))]).toEqual(zero)
      }),
      { numRuns: 40 },
    )
  })

  test('a zero page over data stays zero, whatever holes the files have', async () => {
    const plans: Plan[] = [
      [1, 1, 1, 1],
      [undefined, 2, 2, undefined],
      [undefined, 0, undefined, 0],
    ]
    const layers = await layersOf(plans.map((content) => [content, false]))
    for (const layout of ['flat', 'packed'] as const) {
      const child = await squashLayers(layers.slice(1), fresh('child'), { layout })
      expect([...pagesOf(zeroPages(child.index))]).toEqual([1, 3])
      expect([...pagesOf(dataPages(child.index))]).toEqual([2])
      const flat = fresh('flat')
      await flatten(imageOf([layers[0] as Layer, child]), flat)
      expect(readFileSync(flat).equals(naiveImage(plans))).toBe(true)
    }
  })

  test('refuses layers that do not follow each other, and none at all', async () => {
    const layers = await layersOf([1, 2, 3].map((value) => [Array<number>(4).fill(value), false]))
    const [base, one, two] = layers as [Layer, Layer, Layer]
    const before = readdirSync(directory)
    for (const wrong of [
      [base, two],
      [one, base],
      [base, base],
      [two, one],
    ])
      await expect(squashLayers(wrong, fresh('out'))).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    await expect(squashLayers([], fresh('out'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const [small] = await layersOf([[[5], false]], 1)
    const mixed = squashLayers([base, small as Layer], fresh('out'))
    await expect(mixed).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    expect(readdirSync(directory).filter((name) => name.startsWith('out'))).toEqual([])
    expect(before.every((name) => readdirSync(directory).includes(name))).toBe(true)
  })
})

describe('packLayer', () => {
  const sets = fc.array(fc.uniqueArray(fc.nat(pages + 5), { maxLength: 12 }), { maxLength: 4 })

  test('other layout and order, same pages; those of the first set come first in the file', async () => {
    await fc.assert(
      fc.asyncProperty(plan, plan, fc.boolean(), sets, async (base, child, packed, order) => {
        const layers = await layersOf([
          [base, false],
          [child, packed],
        ])
        for (const layer of layers) {
          const before = stateOf(layers)
          const path = fresh('packed')
          const made = await packLayer(layer, path, {
            layout: 'packed',
            order: order.map((set) => pageSetFromPages(set)),
          })
          await expectSound(made, path)
          expect(stateOf(layers)).toEqual(before)
          expect(made).toMatchObject({ image: layer.image, parent: layer.parent, layout: 'packed' })
          expect(dataPages(made.index)).toEqual(dataPages(layer.index))
          expect(zeroPages(made.index)).toEqual(zeroPages(layer.index))
          // Page numbers as the file stores them, read from the pages themselves.
          const stored = readFileSync(path)
          const found = Array.from(
            { length: made.storedPages },
            (_, i) => stored.readUInt32LE(i * pageSizeBytes) - 1,
          )
          const data = [...pagesOf(dataPages(layer.index))]
          const groups = [...order.map((set) => new Set(set)), new Set(data)]
          const group = (page: number) => groups.findIndex((set) => set.has(page))
          expect(found).toEqual(data.sort((x, y) => group(x) - group(y) || x - y))
          const back = fresh('flat')
          const flat = await packLayer(made, back, { layout: 'flat' })
          await expectSound(flat, back)
          expect(dataPages(flat.index)).toEqual(dataPages(layer.index))
          const both = layers.map((it) => (it === layer ? flat : it))
          expect((await bytesOf(imageOf(both))).equals(naiveImage([base, child]))).toBe(true)
        }
      }),
      { numRuns: 20 },
    )
  })

  test('a flat base is made as sparse as it can be', async () => {
    const content = [7, ...Array<number>(600).fill(0), 8]
    const [layer] = await layersOf([[content, false]])
    const path = fresh('flat')
    // As a copy that fills holes leaves it.
    writeFileSync((layer as Layer).path, readFileSync((layer as Layer).path))
    const made = await packLayer(layer as Layer, path, { layout: 'flat' })
    expect(statSync((layer as Layer).path).blocks * 512).toBeGreaterThan(600 * pageSizeBytes)
    expect(statSync(path).blocks * 512).toBeLessThan(20 * pageSizeBytes)
    expect(made.copied.method).not.toBe('none')
  })

  test('an order for a flat layer is refused; a layer of zeros has no data to pack', async () => {
    const [layer] = await layersOf([[[0, undefined], false]])
    const order = [pageSetFromPages([0])]
    const wrong = packLayer(layer as Layer, fresh('out'), { layout: 'flat', order })
    await expect(wrong).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const path = fresh('packed')
    const made = await packLayer(layer as Layer, path, { layout: 'packed', order })
    await expectSound(made, path)
    expect(made.copied).toMatchObject({ method: 'none', sharedBytes: 0 })
    expect(made.storedPages).toBe(0)
  })
})

describe('rebaseLayer and compareImages', () => {
  test('the new layer holds just the pages that differ, and gives the same image over its new parent', async () => {
    await fc.assert(
      fc.asyncProperty(chain, chain, fc.nat(5), async (plans, others, common) => {
        const layers = await layersOf(plans)
        // A parent that begins as the image does, or one that has nothing to do with it.
        const shared = Math.min(common, layers.length)
        const own = others.length > 0 && shared < 5 ? others : []
        const files = [...layers.slice(0, shared), ...(await layersOf(own, shared))]
        const parentPlans = [...plans.slice(0, shared), ...own].map(([content]) => content)
        const image = imageOf(layers)
        const parent = { ...imageOf(files), id: idOf(100) }
        const [bytes, parentBytes] = [naiveImage(plans.map(([it]) => it)), naiveImage(parentPlans)]
        const page = (of: Buffer, at: number) => of.subarray(at * pageSizeBytes, (at + 1) * pageSizeBytes)
        const differing = Array.from({ length: pages }, (_, at) => at).filter(
          (at) => !page(bytes, at).equals(page(parentBytes, at)),
        )
        expect(await compareImages(image, parent)).toEqual(pageSetFromPages(differing))
        const before = stateOf([...layers, ...files])
        const path = fresh('rebased')
        const layer = await rebaseLayer(image, parent, path)
        await expectSound(layer, path)
        expect(layer).toMatchObject({ image: image.id, parent: idOf(100), layout: 'packed' })
        const says = [...pagesOf(dataPages(layer.index)), ...pagesOf(zeroPages(layer.index))]
        expect(says.sort((x, y) => x - y)).toEqual(differing)
        expect((await bytesOf(imageOf([...files, layer]))).equals(bytes)).toBe(true)

        const basePath = fresh('base')
        const base = await rebaseLayer(image, null, basePath)
        await expectSound(base, basePath)
        expect(base).toMatchObject({ image: image.id, parent: null, layout: 'flat' })
        expect(readFileSync(basePath).subarray(0, bytes.length).equals(bytes)).toBe(true)
        expect(stateOf([...layers, ...files])).toEqual(before)
      }),
      { numRuns: 25 },
    )
  })

  test('an image is not its own parent', async () => {
    const image = imageOf(await layersOf([[[1], false]]))
    const work = rebaseLayer(image, image, fresh('out'))
    await expect(work).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('pages that both images take from one file are not read, by whatever name', async () => {
    const base = Array<number>(8192).fill(1)
    const child: Plan = [...Array<undefined>(100), 2, 0, ...Array<undefined>(8090)]
    const layers = await layersOf([
      [base, false],
      [child, true],
    ])
    const second = fresh('name')
    linkSync((layers[0] as Layer).path, second)
    const parent = imageOf([{ ...(layers[0] as Layer), path: second }])
    const read = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
    const before = read()
    expect(await compareImages(imageOf(layers), parent)).toEqual(pageSetFromRuns([{ start: 100, count: 2 }]))
    expect(read() - before).toBeLessThan((base.length * pageSizeBytes) / 4)
  })

  test('zero in one way equals zero in every other', async () => {
    const [zeros] = await layersOf([[[undefined, 0, undefined, 0], false]])
    const flat = memoryFile([undefined, undefined, 0, 0])
    expect((await compareImages(imageOf([zeros as Layer]), flat)).pages).toBe(0)
    expect(await compareImages(memoryFile([1, 0, undefined, 0]), flat)).toEqual(pageSetFromPages([0]))
  })
})

describe('whatever happens', () => {
  const long = 1400
  const big: Plan = Array.from({ length: long }, (_, page) => 1 + (page % 250))
  const scattered: Plan = Array.from({ length: long }, (_, page) => (page % 7 < 2 ? 251 : undefined))

  test('a stop at any point leaves nothing', async () => {
    const layers = await layersOf([
      [big, false],
      [scattered, true],
    ])
    const image = imageOf(layers)
    const before = readdirSync(directory).sort()
    const works: ((options: { signal: AbortSignal; onProgress: () => void }) => Promise<unknown>)[] = [
      (options) => flatten(image, join(directory, 'out'), options),
      (options) => squashLayers(layers, join(directory, 'out'), options),
      (options) => packLayer(layers[0] as Layer, join(directory, 'out'), { layout: 'packed', ...options }),
      (options) => rebaseLayer(image, { ...image, id: idOf(9) }, join(directory, 'out'), options),
    ]
    for (const work of works.slice(0, 3)) {
      let calls = 0
      await work({ signal: new AbortController().signal, onProgress: () => calls++ })
      rmSync(join(directory, 'out'))
      expect(calls).toBeGreaterThan(1)
      for (let stopAt = 0; stopAt <= calls; stopAt++) {
        const stopper = new AbortController()
        let seen = 0
        if (stopAt === 0) stopper.abort()
        const onProgress = () => {
          if (++seen === stopAt) stopper.abort()
        }
        const stopped = work({ signal: stopper.signal, onProgress })
        await expect(stopped, `stop at ${stopAt} of ${calls}`).rejects.toMatchObject({ code: 'INTERRUPTED' })
        expect(readdirSync(directory).sort()).toEqual(before)
      }
    }
    const stopped = works[3]?.({ signal: AbortSignal.abort(), onProgress: () => {} })
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(readdirSync(directory).sort()).toEqual(before)
  })

  test('whichever change on disk fails, there is no file or a whole one, and the sources are what they were', async () => {
    const layers = await layersOf([
      [big, false],
      [scattered, true],
    ])
    const before = readdirSync(directory).sort()
    const sources = stateOf(layers)
    const out = join(directory, 'out')
    const failed: string[] = []
    for (let failAt = 0; ; failAt++) {
      let seen = 0
      observeMutations(({ kind }) => {
        if (seen++ !== failAt) return
        failed.push(kind)
        throw new Error('it fails here')
      })
      const work = await squashLayers(layers, out).then(
        () => 'done',
        (error: Error) => error.message,
      )
      observeMutations(undefined)
      if (work === 'done') break
      expect(work).toBe('it fails here')
      const left = readdirSync(directory).filter((name) => !before.includes(name))
      if (['unlink', 'fsync'].includes(failed.at(-1) as string) && left.includes('out'))
        await verifyLayer(await readLayer(out))
      else expect(left).toEqual([])
      rmSync(out, { force: true })
    }
    expect([...new Set(failed)]).toEqual(
      expect.arrayContaining(['create', 'truncate', 'write', 'fsync', 'link']),
    )
    expect(stateOf(layers)).toEqual(sources)
  })

  test('progress ends at the total', async () => {
    const layers = await layersOf([
      [big, false],
      [scattered, true],
    ])
    const seen: [number, number][] = []
    const onProgress = (done: number, total: number) => seen.push([done, total])
    await squashLayers(layers, fresh('out'), { onProgress })
    expect(seen.every(([done, total], i) => done <= total && done >= (seen[i - 1]?.[0] ?? 0))).toBe(true)
    expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1])
  })

  test('an existing file is not touched', async () => {
    const layers = await layersOf([[big, false]])
    const layer = layers[0] as Layer
    const out = fresh('out')
    writeFileSync(out, 'mine')
    const tries = [
      () => flatten(imageOf(layers), out),
      () => squashLayers(layers, out),
      () => packLayer(layer, out, { layout: 'packed' }),
      () => rebaseLayer(imageOf(layers), null, out),
      // Also if it is the layer itself.
      () => packLayer(layer, layer.path, { layout: 'packed' }),
    ]
    for (const work of tries) await expect(work()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readFileSync(out, 'utf8')).toBe('mine')
  })

  test('damage in a source is found before it gets a right checksum', async () => {
    const layers = await layersOf([
      [big, false],
      [scattered, true],
    ])
    const fd = openSync((layers[0] as Layer).path, 'r+')
    writeSync(fd, Buffer.of(0xee), 0, 1, 900 * pageSizeBytes + 5)
    closeSync(fd)
    const before = readdirSync(directory).sort()
    const works = (verify?: boolean) => [
      () => squashLayers(layers, fresh('out'), { verify }),
      () => packLayer(layers[0] as Layer, fresh('out'), { layout: 'packed', verify }),
      () => rebaseLayer(imageOf(layers), null, fresh('out'), { verify }),
    ]
    for (const work of works()) await expect(work()).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
    expect(readdirSync(directory).sort()).toEqual(before)
    for (const work of works(false)) await verifyLayer(await work())
  })

  // 1,400 pages are more than it holds. Mounting needs root. Elsewhere this is
  // said, not passed over in silence.
  const isRoot = process.getuid?.() === 0
  if (!isRoot)
    console.error('NOT RUN: "a full file system leaves nothing": it mounts a tmpfs, which needs root')
  test.runIf(isRoot)('a full file system leaves nothing', async () => {
    const layers = await layersOf([
      [big, false],
      [scattered, true],
    ])
    const small = join(directory, 'small')
    mkdirSync(small)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m,mode=0700', 'tmpfs', small])
    try {
      const out = join(small, 'out')
      const tries = [
        () => flatten(imageOf(layers), out),
        () => squashLayers(layers, out),
        () => packLayer(layers[0] as Layer, out, { layout: 'packed' }),
        () => rebaseLayer(imageOf(layers), null, out),
      ]
      for (const work of tries) {
        await expect(work()).rejects.toMatchObject({
          code: 'WRITE_FAILED',
          details: { path: out, errno: 'ENOSPC' },
        })
        expect(readdirSync(small)).toEqual([])
      }
    } finally {
      execFileSync('umount', [small])
    }
  })
})
