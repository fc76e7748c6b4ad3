import { randomBytes } from 'node:crypto'
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openReflinkFileSystem, type ReflinkFileSystem } from '@varve/lab'
import { isVarveError, pageSizeBytes } from 'varve'
import {
  compareImages,
  composeExtentMap,
  flatten,
  type Layer,
  packLayer,
  rebaseLayer,
  sealLayer,
  squashLayers,
  verifyLayer,
} from 'varve/layers'
import { pageSetFromPages } from 'varve/working-sets'
import { afterAll, beforeAll, beforeEach, expect, type TestContext, test } from 'vitest'

const pages = 16_384
const imageBytes = pages * pageSizeBytes
/** What the metadata of a few files may take: far less than the pages of one. */
const metadataBytes = imageBytes / 16

let directory: string
let xfs: ReflinkFileSystem | undefined
let reason = ''
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-reflink-'))
  try {
    xfs = await openReflinkFileSystem(directory, 1024 ** 3, { onProgress: (said) => console.error(said) })
  } catch (error) {
    if (!isVarveError(error, 'HOST_UNSUPPORTED')) throw error
    reason = error.message
    console.error(`NOT RUN: composing layers on a reflink file system: ${reason}`)
  }
})
afterAll(async () => {
  await xfs?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})
beforeEach((context: TestContext) => {
  if (xfs === undefined) context.skip(reason)
})

let serial = 0
const on = () => (xfs as ReflinkFileSystem).path
const fresh = (where: string, name: string) => join(where, `${name}-${serial++}`)
const idOf = (level: number) => (level + 1).toString(16).padStart(32, '0')

/** A base with holes and two children of runs of all lengths, and the bytes that they make. */
async function chain(wheres: readonly string[]): Promise<{ layers: Layer[]; bytes: Buffer }> {
  const bytes = Buffer.alloc(imageBytes)
  const layers: Layer[] = []
  for (const [level, where] of wheres.entries()) {
    const path = fresh(where, 'layer')
    const fd = openSync(path, 'wx', 0o600)
    ftruncateSync(fd, imageBytes)
    let seed = level + 7
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
      return seed % below
    }
    for (let page = 0; page < pages; ) {
      page += level === 0 ? random(4) : 30 + random(60)
      const count = Math.min(1 + random(level === 0 ? 200 : 20), pages - page)
      if (count <= 0) break
      const content =
        random(12) === 0 ? Buffer.alloc(count * pageSizeBytes) : randomBytes(count * pageSizeBytes)
      writeSync(fd, content, 0, content.length, page * pageSizeBytes)
      content.copy(bytes, page * pageSizeBytes)
      page += count
    }
    closeSync(fd)
    layers.push(await sealLayer(path, { image: idOf(level), parent: level === 0 ? null : idOf(level - 1) }))
  }
  return { layers, bytes }
}

const imageOf = (files: readonly Layer[]) => ({
  id: files.at(-1)?.image as string,
  map: composeExtentMap(files.map(({ index }) => index)),
  files,
})

function freeBytes(): number {
  const { bavail, bsize } = statfsSync(on())
  return bavail * bsize
}

test('layers and flat files share the blocks of what they were made of', async () => {
  const { layers, bytes } = await chain([on(), on(), on()])
  const image = imageOf(layers)
  const free = freeBytes()
  const flatPath = fresh(on(), 'flat')
  const flat = await flatten(image, flatPath)
  expect(flat).toMatchObject({ method: 'FICLONERANGE', sharedBytes: flat.dataPages * pageSizeBytes })
  expect(readFileSync(flatPath).equals(bytes)).toBe(true)

  const squashed = await squashLayers(layers, fresh(on(), 'squashed'))
  const child = await squashLayers(layers.slice(1), fresh(on(), 'child'))
  const packed = await packLayer(squashed, fresh(on(), 'packed'), {
    layout: 'packed',
    order: [pageSetFromPages(Array.from({ length: 300 }, (_, i) => 8000 + i))],
  })
  const base = layers[0] as Layer
  const rebased = await rebaseLayer(image, { ...imageOf([base]), id: base.image }, fresh(on(), 'rebased'))
  const made = [squashed, child, packed, rebased]
  for (const layer of made) {
    expect(layer.copied.method).toBe('FICLONERANGE')
    await verifyLayer(layer)
  }
  for (const files of [[squashed], [base, child], [packed], [base, rebased]])
    expect((await compareImages(imageOf(files), flatPath)).pages).toBe(0)
  // Five files of up to 64 MiB each, and next to no space for them.
  expect(free - freeBytes()).toBeLessThan(metadataBytes)
})

test('what was made stays right when its sources are gone, and they when it is written to', async () => {
  const { layers, bytes } = await chain([on(), on()])
  const flatPath = fresh(on(), 'flat')
  await flatten(imageOf(layers), flatPath)
  const squashed = await squashLayers(layers, fresh(on(), 'squashed'))
  const fd = openSync(flatPath, 'r+')
  writeSync(fd, randomBytes(imageBytes), 0, imageBytes, 0)
  closeSync(fd)
  for (const layer of layers) await verifyLayer(layer)
  for (const { path } of layers) rmSync(path)
  await verifyLayer(squashed)
  expect(readFileSync(squashed.path).subarray(0, imageBytes).equals(bytes)).toBe(true)
})

test('layers on two file systems: shared where that is possible, copied elsewhere, and told so', async () => {
  const { layers, bytes } = await chain([directory, on(), directory])
  const inside = fresh(on(), 'flat')
  const mixed = await flatten(imageOf(layers), inside)
  expect(mixed.method).toBe('mixed')
  expect(mixed.pagesBy.FICLONERANGE).toBeGreaterThan(0)
  expect(mixed.sharedBytes).toBe(mixed.pagesBy.FICLONERANGE * pageSizeBytes)
  expect(Object.values(mixed.pagesBy).reduce((sum, count) => sum + count)).toBe(mixed.dataPages)
  const outside = fresh(directory, 'flat')
  const copied = await flatten(imageOf(layers), outside)
  expect(copied.pagesBy.FICLONERANGE).toBe(0)
  for (const path of [inside, outside]) expect(readFileSync(path).equals(bytes)).toBe(true)
})

test('a crash of the host right after the call loses nothing', async () => {
  const { layers, bytes } = await chain([on(), on()])
  const image = imageOf(layers)
  const flatPath = fresh(on(), 'flat')
  const packedPath = fresh(on(), 'packed')
  const before = readdirSync(on())
  await flatten(image, flatPath)
  const squashed = await squashLayers(layers, packedPath, { layout: 'packed' })
  await (xfs as ReflinkFileSystem).crash()
  expect(statSync(flatPath).size).toBe(imageBytes)
  expect(readFileSync(flatPath).equals(bytes)).toBe(true)
  await verifyLayer(squashed)
  expect((await compareImages(imageOf([squashed]), flatPath)).pages).toBe(0)
  // No temporary name came back.
  const names = [...before, ...[flatPath, packedPath].map((path) => path.slice(on().length + 1))]
  expect(readdirSync(on()).sort()).toEqual(names.sort())
})
