import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import type { ByteRange, OpenBlob } from 'varve'
import { hashBytes } from 'varve/testing'
import { describe, expect, test } from 'vitest'
import { compressFrame } from './compress-frame.js'
import { type FramedIndex, type frameCodecs, framesOf, rangeOfFrames } from './framed-index.js'
import { frameRow } from './framed-index-bytes.js'
import { openFrame } from './open-frame.js'
import { PagePlaces } from './page-places.js'
import { readFramedIndex } from './read-framed-index.js'
import { unframeLayer } from './unframe-layer.js'
import { loadZstd, nodeZstd, packagedZstd } from './zstd.js'
import { zstdFrameFault } from './zstd-frame.js'

const golden = (name: string) =>
  readFileSync(
    fileURLToPath(new URL(`../../../../test/golden/framed-layers/${name}.framed`, import.meta.url)),
  )
const frame = 512 * 1024

/** A place that counts what it is asked for, and never gives more. */
function blobOf(bytes: Buffer): OpenBlob & { readonly reads: ByteRange[] } {
  const reads: ByteRange[] = []
  return {
    reads,
    sizeBytes: bytes.length,
    read: async (range) => {
      expect(range.offsetBytes).toBeGreaterThanOrEqual(0)
      expect(range.offsetBytes + range.lengthBytes).toBeLessThanOrEqual(bytes.length)
      reads.push(range)
      return bytes.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes)
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'taken',
    (error: { code?: string }) => error.code ?? String(error),
  )

/** Gives the trailer a right checksum: what a hostile writer would do. */
function resealed(file: Buffer, indexBytes: number, change: (index: Buffer) => void): Buffer {
  const copy = Buffer.from(file)
  const index = copy.subarray(copy.length - indexBytes)
  change(index)
  index.writeUInt32LE(crc32(index.subarray(0, indexBytes - 4)), indexBytes - 4)
  return copy
}

const wide = golden('wide-child-zstd')
const wideFrames = 4
const wideIndexBytes = wideFrames * 36 + 8 * (await readFramedIndex(blobOf(wide))).runs.pages.length + 128
const runsAt = wideFrames * 36
const trailerAt = wideIndexBytes - 128
const forged = (change: (index: Buffer) => void) =>
  codeOf(readFramedIndex(blobOf(resealed(wide, wideIndexBytes, change))))

describe('an index that was damaged', () => {
  test('is refused if the file is cut at any byte, or goes on', async () => {
    const file = golden('flat-base-lz4')
    for (let length = 0; length < file.length; length++)
      expect(await codeOf(readFramedIndex(blobOf(file.subarray(0, length))))).toBe('FORMAT_INVALID')
    expect(await codeOf(readFramedIndex(blobOf(Buffer.concat([file, Buffer.alloc(1)]))))).toBe(
      'FORMAT_INVALID',
    )
    expect(await codeOf(readFramedIndex(blobOf(Buffer.concat([Buffer.alloc(1), file]))))).toBe(
      'FORMAT_INVALID',
    )
  })

  test('is refused for any flipped bit, and so is a frame', async () => {
    const file = golden('flat-base-lz4')
    const whole = await readFramedIndex(blobOf(file))
    const begin = whole.offsets.at(-1) as number
    const expected = { bytes: file.length - begin, digest: hashBytes(file.subarray(begin)) }
    for (let at = 0; at < file.length; at++) {
      const bad = Buffer.from(file)
      bad[at] = (bad[at] as number) ^ (1 << (at % 8))
      const blob = blobOf(bad)
      if (at >= begin) {
        expect(await codeOf(readFramedIndex(blob))).toMatch(
          /^(CHECKSUM_MISMATCH|FORMAT_(INVALID|UNSUPPORTED))$/,
        )
        expect(await codeOf(readFramedIndex(blob, { expected }))).toBe('CHECKSUM_MISMATCH')
      } else {
        const number = at < (whole.offsets[1] as number) ? 0 : 1
        const stored = await blob.read(rangeOfFrames(whole, number))
        expect(await codeOf(openFrame(whole, number, stored))).toBe('CHECKSUM_MISMATCH')
      }
    }
  })

  test('is read once if the manifest says how long it is, and in two reads otherwise', async () => {
    const begin = wide.length - wideIndexBytes
    const expected = { bytes: wideIndexBytes, digest: hashBytes(wide.subarray(begin)) }
    const blob = blobOf(wide)
    await readFramedIndex(blob, { expected })
    expect(blob.reads).toEqual([{ offsetBytes: begin, lengthBytes: wideIndexBytes }])
    await readFramedIndex(blob)
    expect(blob.reads).toHaveLength(3)
    for (const bytes of [0, 127, wideIndexBytes - 1, wide.length + 1, 2 ** 40, 1.5, Number.NaN])
      expect(await codeOf(readFramedIndex(blobOf(wide), { expected: { ...expected, bytes } }))).toMatch(
        /^(CHECKSUM_MISMATCH|FORMAT_INVALID)$/,
      )
  })
})

/** If a count moves the begin of the index, the checksum is of other bytes. */
const refused = /^(FORMAT_INVALID|CHECKSUM_MISMATCH)$/

describe('an index that lies', () => {
  const u64 = fc.oneof(
    fc.constantFrom(
      0n,
      1n,
      127n,
      129n,
      257n,
      2n ** 31n,
      2n ** 32n,
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 63n,
      2n ** 64n - 1n,
    ),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  )

  test('about how much it holds is refused before anything of that size is read', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(24, 32, 40, 48), u64, async (field, value) => {
        const file = resealed(wide, wideIndexBytes, (index) =>
          index.writeBigUInt64LE(value, trailerAt + field),
        )
        fc.pre(!file.equals(wide))
        const blob = blobOf(file)
        const code = await codeOf(readFramedIndex(blob))
        // More pages of the layer than there were: the index alone does not show it, these would be zero.
        const mayGrow = field === 24 && value > 300n && value <= 2n ** 32n - 2n
        // Where the hot set ends is the writer's word, if a run ends there.
        const mayEnd = field === 40 && value <= 257n
        if (!(mayGrow || mayEnd) || code !== 'taken') expect(code).toMatch(refused)
        for (const { lengthBytes } of blob.reads) expect(lengthBytes).toBeLessThanOrEqual(wide.length)
      }),
      { numRuns: 300 },
    )
  })

  test.each([0, 1, 2 ** 21 + 1, 2 ** 32 - 1])('about its %i page runs', async (runs) => {
    expect(await forged((index) => index.writeUInt32LE(runs, trailerAt + 20))).toMatch(refused)
  })

  test('about version, page size, frame size, and in what is reserved', async () => {
    expect(await forged((index) => index.writeUInt8(2, trailerAt + 8))).toBe('FORMAT_UNSUPPORTED')
    expect(await forged((index) => index.writeUInt8(0, trailerAt + 8))).toBe('FORMAT_INVALID')
    for (const at of [0, 9, 11, 12, 16, 56, 59, 92, 123])
      expect(await forged((index) => index.writeUInt8(0xee, trailerAt + at))).toBe('FORMAT_INVALID')
  })

  const swap = (index: Buffer, a: number, b: number, length: number) => {
    const kept = Buffer.from(index.subarray(a, a + length))
    index.copy(index, a, b, b + length)
    kept.copy(index, b)
  }
  const run = (number: number) => runsAt + 8 * number

  test('about the lengths of frames: gaps, overlaps, none, too long, an unknown codec', async () => {
    for (const length of [0, 1, frame - 1, frame, frame + 1, 0xff_ffff])
      expect(await forged((index) => index.writeUIntLE(length, 0, 3))).toBe('FORMAT_INVALID')
    for (const codec of [0, 3, 255])
      expect(await forged((index) => index.writeUInt8(codec, 3))).toBe('FORMAT_INVALID')
  })

  test('about where pages are: twice, overlapping, empty, behind the end, across the hot set, not merged', async () => {
    const lies: readonly ((index: Buffer) => void)[] = [
      (index) => index.copy(index, run(12), run(11), run(12)),
      (index) => index.writeUInt32LE(index.readUInt32LE(run(12)) + 1, run(12)),
      (index) => index.writeUInt32LE(0, run(3) + 4),
      (index) => index.writeUInt32LE(299, run(3)),
      (index) => index.writeUInt32LE(2 ** 32 - 1, run(3)),
      (index) => index.writeUInt32LE(2 ** 32 - 1, run(3) + 4),
      (index) => index.writeBigUInt64LE(41n, trailerAt + 40),
    ]
    for (const lie of lies) expect(await forged(lie)).toBe('FORMAT_INVALID')
    const [first, second] = [run(1), run(2)]
    // The same pages in another order are no lie.
    expect(await forged((index) => swap(index, first, second, 8))).toBe('taken')
  })

  test('in any bytes of the runs gives the index up or places each page once', async () => {
    const bytes = wideIndexBytes - 128 - runsAt
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes / 4 - 1), fc.nat(320)), { minLength: 1, maxLength: 4 }),
        async (changes) => {
          const file = resealed(wide, wideIndexBytes, (index) => {
            for (const [word, value] of changes) index.writeUInt32LE(value, runsAt + 4 * word)
          })
          let index: FramedIndex
          try {
            index = await readFramedIndex(blobOf(file))
          } catch (error) {
            expect(error).toMatchObject({ code: 'FORMAT_INVALID' })
            return
          }
          const places = new PagePlaces(index)
          const found = Array.from({ length: 300 }, (_, page) => places.placeOf(page))
          const seen = found.filter((place) => place !== undefined).sort((a, b) => a - b)
          expect(seen).toEqual(Array.from({ length: 257 }, (_, place) => place))
        },
      ),
      { numRuns: 200 },
    )
  })

  test('about the layer leaves no file', async () => {
    const file = resealed(wide, wideIndexBytes, (index) => index.writeUInt8(1, trailerAt + 70))
    const directory = mkdtempSync(join(tmpdir(), 'varve-hostile-'))
    const blob = blobOf(file)
    const work = unframeLayer(blob, await readFramedIndex(blob), join(directory, 'layer'))
    expect(await codeOf(work)).toBe('CHECKSUM_MISMATCH')
    expect(readdirSync(directory)).toEqual([])
    rmSync(directory, { recursive: true })
  })
})

/** An index with one page frame of 128 pages, whose stored bytes are these. */
function indexOf(codec: (typeof frameCodecs)[number], stored: Buffer): FramedIndex {
  const sha256 = createHash('sha256').update(stored).digest()
  return {
    ...{ layerPages: 128, placedPages: 128, hotPages: 0, tailBytes: 128 },
    layerDigest: hashBytes(stored),
    table: frameRow({ codec, storedBytes: stored.length, sha256 }),
    offsets: Float64Array.of(0, stored.length),
    runs: { pages: Uint32Array.of(0), counts: Uint32Array.of(128) },
  }
}

const opened = (codec: (typeof frameCodecs)[number], stored: Buffer) =>
  codeOf(openFrame(indexOf(codec, stored), 0, stored))

/** A zstd frame of RLE blocks; without content size, with a window of 128 KiB, unless told otherwise. */
function zstdOf(blocks: readonly number[], { head = [0x00, 0x38] as readonly number[] } = {}): Buffer {
  const parts = blocks.map((size, i) => {
    const block = Buffer.alloc(4, 7)
    block.writeUIntLE((i === blocks.length - 1 ? 1 : 0) | (1 << 1) | (size << 3), 0, 3)
    return block
  })
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...head]), ...parts])
}
const block = 128 * 1024
const right = [block, block, block, block]

describe('a frame that its writer made to harm', () => {
  test('is refused if it gives more or fewer bytes: zstd', async () => {
    expect(await opened('zstd', zstdOf(right))).toBe('taken')
    expect(await opened('zstd', zstdOf([...right, 1]))).toBe('FORMAT_INVALID')
    expect(await opened('zstd', zstdOf([block, block, block, block - 1]))).toBe('FORMAT_INVALID')
    // 16 GiB in half a MiB, were it decompressed.
    expect(await opened('zstd', zstdOf(Array<number>(130_000).fill(block)))).toBe('FORMAT_INVALID')
    expect(await opened('zstd', zstdOf(Array<number>(128).fill(block)))).toBe('FORMAT_INVALID')
    expect(zstdFrameFault(zstdOf(Array<number>(129).fill(block)), frame)).toMatch('more than 128 blocks')
  })

  test('is refused if its zstd header lies or wants much', async () => {
    const faults: readonly [readonly number[], RegExp][] = [
      [[0x00, 0xf8], /window/],
      [[0x01, 0x38, 9], /dictionary/],
      [[0x08, 0x38], /reserved/],
      [[0xa0, 0xff, 0xff, 0xff, 0x7f], /does not hold/],
      [[0xe0, 0, 0, 8, 0, 0, 0, 1, 0], /does not hold/],
      [[0x60, 0, 0], /does not hold/],
    ]
    for (const [head, reason] of faults)
      expect(zstdFrameFault(zstdOf(right, { head }), frame)).toMatch(reason)
    expect(zstdFrameFault(zstdOf(right, { head: [0xa0, 0, 0, 8, 0] }), frame)).toBeUndefined()
    expect(zstdFrameFault(zstdOf(right, { head: [0xe0, 0, 0, 8, 0, 0, 0, 0, 0] }), frame)).toBeUndefined()
    const two = Buffer.concat([zstdOf(right), zstdOf(right)])
    expect(zstdFrameFault(two, frame)).toMatch('does not end')
    const skippable = Buffer.concat([Buffer.from('502a4d1804000000abcdefgh', 'hex'), zstdOf(right)])
    expect(zstdFrameFault(skippable, frame)).toMatch('no zstd frame')
    for (let length = 0; length < zstdOf(right).length; length++)
      expect(zstdFrameFault(zstdOf(right).subarray(0, length), frame)).toBeDefined()
  })

  test('is refused if it gives more or fewer bytes: lz4', async () => {
    const raw = Buffer.alloc(frame, 5)
    const { bytes } = await compressFrame(raw, 'lz4', 1)
    expect(await opened('lz4', bytes)).toBe('taken')
    for (const length of [frame - 1, frame + 1, 8 * 2 ** 20]) {
      const other = await compressFrame(Buffer.alloc(length, 5), 'lz4', 1)
      expect(await opened('lz4', other.bytes)).toBe('FORMAT_INVALID')
    }
    for (let length = 1; length < 40; length++)
      expect(await opened('lz4', bytes.subarray(0, length))).toBe('FORMAT_INVALID')
  })

  test('of any bytes is refused, or gives as many as it must', async () => {
    const real = {
      lz4: (await compressFrame(Buffer.from('some words '.repeat(50_000).slice(0, frame)), 'lz4', 1)).bytes,
      zstd: await (await loadZstd()).compress(Buffer.from('some words '.repeat(50_000).slice(0, frame)), 3),
    }
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('lz4' as const, 'zstd' as const),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }),
        fc.boolean(),
        async (codec, changes, noise) => {
          const stored = noise ? randomBytes(200) : Buffer.from(real[codec])
          if (noise && codec === 'zstd') stored.writeUInt32LE(0xfd2fb528)
          for (const [at, value] of changes) stored[at % stored.length] = value
          expect(await opened(codec, stored)).toMatch(/^(taken|FORMAT_INVALID)$/)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('that came short or long is not decompressed', async () => {
    const stored = zstdOf(right)
    const index = indexOf('zstd', stored)
    for (const bytes of [stored.subarray(1), Buffer.concat([stored, stored]), Buffer.alloc(0)])
      expect(await codeOf(openFrame(index, 0, bytes))).toBe('CHECKSUM_MISMATCH')
    expect(framesOf(index)).toBe(2)
  })
})

test('each zstd reads what the other one wrote', async () => {
  const raw = Buffer.from('some words '.repeat(50_000).slice(0, frame))
  const both = [packagedZstd(), nodeZstd()].filter((it) => it !== undefined)
  for (const writer of await Promise.all(both))
    for (const level of [1, 3, 15]) {
      const bytes = await writer.compress(raw, level)
      expect(zstdFrameFault(bytes, frame)).toBeUndefined()
      for (const reader of await Promise.all(both))
        expect(raw.equals(await reader.decompress(bytes, frame))).toBe(true)
    }
})
