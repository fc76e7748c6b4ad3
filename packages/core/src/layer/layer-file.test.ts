import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  linkSync,
  mkdtempSync,
  openSync,
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
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError, type VarveError } from '../errors.js'
import { pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { createFile } from '../sys/mutations.js'
import { ChunkChecksums } from './chunk-checksums.js'
import { appendFooter, readLayer, sealLayer, sealPacked, verifyLayer } from './layer-file.js'
import { trailerBytes } from './layer-footer.js'
import { countPages, dataPages, LayerIndexBuilder, zeroPages } from './layer-index.js'
import { zeroPage } from './layer-types.js'

const image = '00112233445566778899aabbccddeeff'
const parent = 'ffeeddccbbaa99887766554433221100'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-layer-file-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** What a memory file holds in each page: undefined a hole, 0 zero data, else a byte to fill it with. */
type Plan = readonly (number | undefined)[]
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

const where = (content: Plan, is: (value: number | undefined) => boolean) =>
  content.flatMap((value, page) => (is(value) ? [page] : []))

async function failure(work: Promise<unknown>): Promise<VarveError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!isVarveError(error)) throw new Error(`no VarveError but ${String(error)}`)
  return error
}

const plan = fc.array(fc.constantFrom(undefined, undefined, 0, 1, 2, 255), { minLength: 1, maxLength: 40 })

describe('sealLayer and readLayer', () => {
  test('a memory file stays what it was, and its layer says what it held', async () => {
    await fc.assert(
      fc.asyncProperty(plan, fc.boolean(), async (content, isBase) => {
        const path = memoryFile(content)
        const before = readFileSync(path)
        const sealed = await sealLayer(path, { image, parent: isBase ? null : parent })
        expect(readFileSync(path).subarray(0, before.length).equals(before)).toBe(true)
        expect(await readLayer(path)).toEqual(sealed)
        await verifyLayer(sealed)
        expect(sealed).toMatchObject({ image, parent: isBase ? null : parent, layout: 'flat' })
        expect(sealed.storedPages).toBe(content.length)
        expect(statSync(path).size).toBe(sealed.sizeBytes)
        expect([...pagesOf(dataPages(sealed.index))]).toEqual(where(content, (it) => Boolean(it)))
        expect([...pagesOf(zeroPages(sealed.index))]).toEqual(
          where(content, (it) => (isBase ? !it : it === 0)),
        )
      }),
      { numRuns: 40 },
    )
  })

  test('runs of zero pages give their space back, short ones keep it', async () => {
    const content = [1, ...Array(64).fill(0), 2, 0, 0, 3, ...Array(8).fill(0)]
    const path = memoryFile(content)
    const before = readFileSync(path)
    const dense = statSync(path).blocks
    const sealed = await sealLayer(path, { image, parent: null })
    expect(readFileSync(path).subarray(0, before.length).equals(before)).toBe(true)
    // The footer takes a page, or two.
    expect(statSync(path).blocks).toBeLessThanOrEqual(dense - 64 * 8 + 16)
    expect(countPages(sealed.index)).toMatchObject({ data: 3, zero: 74 })
    await verifyLayer(sealed)
  })

  test('packed, it says the same in a file of its data alone, and leaves the memory file as it was', async () => {
    await fc.assert(
      fc.asyncProperty(plan, fc.boolean(), async (content, isBase) => {
        const path = memoryFile(content)
        const before = readFileSync(path)
        const packedPath = `${path}.packed`
        const packed = await sealPacked(path, packedPath, { image, parent: isBase ? null : parent })
        expect(readFileSync(path).equals(before)).toBe(true)
        expect(await readLayer(packedPath)).toEqual(packed)
        await verifyLayer(packed)
        const flat = await sealLayer(path, { image, parent: isBase ? null : parent })
        expect(dataPages(packed.index)).toEqual(dataPages(flat.index))
        expect(zeroPages(packed.index)).toEqual(zeroPages(flat.index))
        expect(packed.checksums).toEqual(flat.checksums)
        const data = where(content, (it) => Boolean(it)).map((page) => content[page] as number)
        expect(packed.storedPages).toBe(data.length)
        expect(data.map((_, i) => readFileSync(packedPath)[i * pageSizeBytes])).toEqual(data)
      }),
      { numRuns: 30 },
    )
  })

  test('checksums go over data pages alone, 512 to a chunk, across holes', async () => {
    const content = Array.from({ length: 1300 }, (_, page) => (page % 5 === 0 ? undefined : 1 + (page % 200)))
    const layer = await sealLayer(memoryFile(content), { image, parent })
    const data = content.filter((byte) => byte !== undefined)
    expect(layer.checksums.length).toBe(Math.ceil(data.length / 512))
    for (const [chunk, checksum] of layer.checksums.entries()) {
      const bytes = Buffer.concat(
        data.slice(chunk * 512, (chunk + 1) * 512).map((byte) => Buffer.alloc(pageSizeBytes, byte)),
      )
      expect(checksum).toBe(crc32(bytes))
    }
  })

  test('a file with a second name, a link or something else is refused and not written to', async () => {
    const path = memoryFile([1, 2])
    linkSync(path, join(directory, 'second'))
    symlinkSync(path, join(directory, 'symbolic'))
    expect((await failure(sealLayer(path, { image, parent }))).code).toBe('PATH_INVALID')
    expect(statSync(path).size).toBe(2 * pageSizeBytes)
    expect((await failure(readLayer(join(directory, 'symbolic')))).code).toBe('PATH_INVALID')
    expect((await failure(readLayer(join(directory, 'none')))).code).toBe('NOT_FOUND')
    expect((await failure(readLayer(directory))).code).toBe('PATH_INVALID')
    writeFileSync(join(directory, 'short'), 'VARVELYR')
    expect((await failure(readLayer(join(directory, 'short')))).code).toBe('FORMAT_INVALID')
  })

  test('a packed layer keeps its pages where its index says', async () => {
    const builder = new LayerIndexBuilder()
    builder.add(3, 2, 1)
    builder.add(9, 4, zeroPage)
    builder.add(20, 1, 0)
    const index = builder.finish(32)
    const pages = [7, 8, 9].map((byte) => Buffer.alloc(pageSizeBytes, byte))
    const checksums = new ChunkChecksums()
    for (const page of pages) checksums.add(page)
    const path = join(directory, 'packed')
    {
      await using file = await createFile(path)
      for (const [i, page] of pages.entries())
        await file.handle.write(page, 0, pageSizeBytes, i * pageSizeBytes)
      appendFooter(file, { layout: 'packed', image, parent, index, checksums: checksums.finish() })
    }
    const layer = await readLayer(path)
    expect(layer).toMatchObject({ layout: 'packed', storedPages: 3, index })
    expect(countPages(layer.index)).toEqual({ data: 3, zero: 4, absent: 25 })
    await verifyLayer(layer)
  })
})

describe('damage', () => {
  const content: Plan = [1, undefined, 0, 2, 3, undefined, 0, 4]

  test('any flipped bit of the footer is found, with its place', async () => {
    const path = memoryFile(content)
    const layer = await sealLayer(path, { image, parent })
    const footerAt = layer.storedPages * pageSizeBytes
    const bytes = readFileSync(path)
    for (let at = footerAt; at < bytes.length; at++)
      for (const bit of [0, 3, 7]) {
        const broken = Buffer.from(bytes)
        broken[at] = (broken[at] as number) ^ (1 << bit)
        const damaged = join(directory, 'damaged')
        writeFileSync(damaged, broken)
        const error = await failure(readLayer(damaged))
        expect(['FORMAT_INVALID', 'CHECKSUM_MISMATCH', 'FORMAT_UNSUPPORTED']).toContain(error.code)
        expect(error.message).toContain(damaged)
        expect(error.details.path).toBe(damaged)
        expect(error.details.offset).toBeGreaterThanOrEqual(footerAt)
      }
  })

  test('any truncation is found, and so are bytes at the end', async () => {
    const path = memoryFile([1, 2])
    const { sizeBytes } = await sealLayer(path, { image, parent: null })
    const damaged = join(directory, 'damaged')
    for (const size of [
      0,
      1,
      trailerBytes - 1,
      trailerBytes,
      pageSizeBytes,
      2 * pageSizeBytes,
      sizeBytes - 1,
    ]) {
      copyFileSync(path, damaged)
      truncateSync(damaged, size)
      const error = await failure(readLayer(damaged))
      expect(error.code).toBe('FORMAT_INVALID')
      expect(error.details.path).toBe(damaged)
    }
    truncateSync(path, sizeBytes + 1)
    expect((await failure(readLayer(path))).code).toBe('FORMAT_INVALID')
  })

  test('a flipped bit of a data page is found by verify, in its chunk; of an absent page it does not matter', async () => {
    const path = memoryFile(content)
    const layer = await sealLayer(path, { image, parent })
    const flip = (offset: number) => {
      const fd = openSync(path, 'r+')
      writeSync(fd, Buffer.of((readFileSync(path)[offset] as number) ^ 4), 0, 1, offset)
      closeSync(fd)
    }
    for (const page of where(content, (it) => Boolean(it))) {
      const offset = page * pageSizeBytes + 77
      flip(offset)
      const error = await failure(verifyLayer(layer))
      expect(error).toMatchObject({ code: 'CHECKSUM_MISMATCH', details: { path, offset: 0, chunk: 0 } })
      flip(offset)
    }
    flip(1 * pageSizeBytes)
    flip(2 * pageSizeBytes)
    await verifyLayer(await readLayer(path))
  })

  test('a byte in a zero page of a base is found, at its place', async () => {
    const path = memoryFile(content)
    const layer = await sealLayer(path, { image, parent: null })
    for (const page of [1, 2, 6]) {
      const offset = page * pageSizeBytes + 4095
      const fd = openSync(path, 'r+')
      writeSync(fd, Buffer.of(1), 0, 1, offset)
      expect(await failure(verifyLayer(layer))).toMatchObject({
        code: 'CHECKSUM_MISMATCH',
        details: { path, offset },
      })
      writeSync(fd, Buffer.of(0), 0, 1, offset)
      closeSync(fd)
    }
    await verifyLayer(layer)
  })

  test('hostile trailers are refused before anything is allocated', async () => {
    const path = memoryFile([1, 2])
    await sealLayer(path, { image, parent })
    const bytes = readFileSync(path)
    const trailer = bytes.length - trailerBytes
    const huge = Buffer.alloc(8, 0xff)
    const damaged = join(directory, 'damaged')
    for (const [at, value, code] of [
      [8, Buffer.of(2), 'FORMAT_UNSUPPORTED'],
      [8, Buffer.of(0), 'FORMAT_INVALID'],
      [16, huge, 'FORMAT_INVALID'],
      [24, huge, 'FORMAT_INVALID'],
      [32, huge, 'FORMAT_INVALID'],
      [32, Buffer.of(0, 0, 0, 0, 1), 'FORMAT_INVALID'],
      [40, huge, 'FORMAT_INVALID'],
    ] as const) {
      const broken = Buffer.from(bytes)
      broken.set(value, trailer + at)
      writeFileSync(damaged, broken)
      expect(await failure(readLayer(damaged))).toMatchObject({ code, details: { offset: trailer + at } })
    }
  })

  test('any bytes at all are a layer or a VarveError', async () => {
    const path = memoryFile([1, undefined, 0])
    await sealLayer(path, { image, parent })
    const bytes = readFileSync(path)
    const footerAt = 3 * pageSizeBytes
    const damaged = join(directory, 'damaged')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: footerAt, max: bytes.length - 5 }), fc.nat(255)), {
          maxLength: 6,
        }),
        async (changes) => {
          const broken = Buffer.from(bytes)
          for (const [at, value] of changes) broken[at] = value
          // With a right checksum, so that the checks behind it are met.
          broken.writeUInt32LE(crc32(broken.subarray(footerAt, -4)), broken.length - 4)
          writeFileSync(damaged, broken)
          try {
            const { index, storedPages } = await readLayer(damaged)
            for (const page of pagesOf(dataPages(index))) expect(page).toBeLessThan(index.pages)
            expect(storedPages).toBeLessThanOrEqual(3)
          } catch (error) {
            expect(isVarveError(error)).toBe(true)
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})
