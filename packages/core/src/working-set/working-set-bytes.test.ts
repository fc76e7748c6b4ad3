import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ErrorCode, isVarveError } from '../errors.js'
import { pageRange, pageSetFromBytes, pageSetFromPages } from '../memory/make-page-set.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { intersect, minus } from '../memory/page-set-algebra.js'
import type { WorkingSet, WorkingSetGroup } from './working-set.js'
import { workingSetFromBytes, workingSetToBytes } from './working-set-bytes.js'

const image = '0102030405060708090a0b0c0d0e0f10'
const headerBytes = 64

/** Sparse sets (runs) and dense ones (a bitmap), anywhere in an image of up to 2^32 - 2 pages. */
const workingSet = fc
  .record({
    pages: fc.constantFrom(300, 301, 4096, 2 ** 32 - 2),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    atEnd: fc.boolean(),
    groupCount: fc.nat(5),
    times: fc.array(fc.maxSafeNat(), { minLength: 5, maxLength: 5 }),
    recordedAtMs: fc.maxSafeNat(),
    windowMs: fc.maxSafeNat(),
    notes: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 }),
  })
  .map(({ pages, bytes, atEnd, groupCount, times, recordedAtMs, windowMs, notes }): WorkingSet => {
    const first = atEnd ? pages - bytes.length : 0
    // Bit 0: touched, bit 1: written too, bits 2 to 4: which group.
    const pick = (has: (byte: number) => boolean): PageSet =>
      pageSetFromBytes(
        bytes.map((byte) => (has(byte) ? 1 : 0)),
        first,
      )
    const written = pick((byte) => (byte & 3) === 3)
    const readOnly = minus(
      pick((byte) => (byte & 1) === 1),
      written,
    )
    const sorted = times.toSorted((a, b) => a - b)
    const groups = Array.from(
      { length: groupCount },
      (_, group): WorkingSetGroup => ({
        atMs: sorted[group] as number,
        set: pick((byte) => (byte & 1) === 1 && ((byte >> 2) & 7) === group),
      }),
    ).filter(({ set }) => set.pages > 0)
    // What JSON cannot tell from another value is not asked for here.
    const json = JSON.parse(JSON.stringify(notes)) as WorkingSet['notes']
    return { image, pages, recordedAtMs, windowMs, readOnly, written, groups, notes: json }
  })

const plain: WorkingSet = {
  image,
  pages: 1000,
  recordedAtMs: 1,
  windowMs: 2,
  readOnly: pageRange(8, 4),
  written: pageSetFromPages([20, 22, 24, 26, 28, 30, 32]),
  groups: [{ atMs: 3, set: pageRange(8, 2) }],
  notes: {},
}

function withChecksum(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

/** A file of the given parts behind the header of `plain`. */
function fileOf(
  parts: readonly Uint8Array[],
  header: (bytes: Buffer) => void = () => {},
  notes = '{}',
): Buffer {
  const begin = Buffer.from(workingSetToBytes(plain).subarray(0, headerBytes))
  begin.writeUInt32LE(0, 12)
  begin.writeUInt32LE(Buffer.byteLength(notes), 56)
  header(begin)
  return withChecksum(Buffer.concat([begin, ...parts, Buffer.from(notes), Buffer.alloc(4)]))
}

const u32 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer)
const runs = (...startsAndCounts: number[]): Buffer => u32(0, startsAndCounts.length / 2, ...startsAndCounts)
const bitmap = (first: number, ...bytes: number[]): Buffer =>
  Buffer.concat([u32(1, bytes.length, first), Uint8Array.from(bytes)])
const none = runs()

function refusal(bytes: Buffer): { readonly code: ErrorCode; readonly offset: unknown } | undefined {
  try {
    workingSetFromBytes(bytes, '/some/path')
  } catch (error) {
    if (!isVarveError(error)) throw error
    expect(error.message).toContain('/some/path')
    expect(error.details.path).toBe('/some/path')
    return { code: error.code, offset: error.details.offset }
  }
  return undefined
}

const formatErrors: readonly unknown[] = ['FORMAT_INVALID', 'FORMAT_UNSUPPORTED', 'CHECKSUM_MISMATCH']

describe('working-set bytes', () => {
  test('say the same when read', () => {
    fc.assert(
      fc.property(workingSet, (set) => {
        const bytes = workingSetToBytes(set)
        expect(workingSetFromBytes(bytes, 'file')).toEqual(set)
      }),
      { numRuns: 300 },
    )
  })

  test('are the smaller of runs and bitmap, runs where both are equal', () => {
    const sizeOf = (set: PageSet) =>
      workingSetToBytes({ ...plain, readOnly: set, written: emptyPageSet, groups: [] }).length -
      (headerBytes + 8 + 8 + 2 + 4)
    expect(sizeOf(emptyPageSet)).toBe(0)
    expect(sizeOf(pageRange(0, 1000))).toBe(8)
    expect(sizeOf(pageSetFromPages([0, 2, 4, 6]))).toBe(5)
    // 2 runs, or 4 bytes and 12 of bits; then one byte less of bits.
    expect(sizeOf(pageSetFromPages([0, 88]))).toBe(16)
    expect(sizeOf(pageSetFromPages([0, 87]))).toBe(15)
    expect(sizeOf(pageSetFromPages([7, 88]))).toBe(16)
  })

  test('are refused with any bit flipped and with any end cut off', () => {
    const bytes = workingSetToBytes(plain)
    expect(refusal(bytes)).toBeUndefined()
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const broken = Buffer.from(bytes)
      broken[bit >> 3] = (broken[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(formatErrors).toContain(refusal(broken)?.code)
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(formatErrors).toContain(refusal(bytes.subarray(0, length))?.code)
      if (length > 4)
        expect(formatErrors).toContain(refusal(withChecksum(Buffer.from(bytes.subarray(0, length))))?.code)
    }
    expect(formatErrors).toContain(refusal(withChecksum(Buffer.concat([bytes, Buffer.alloc(1)])))?.code)
  })

  test('that are changed under a right checksum are refused, or are the one way to say what they say', () => {
    fc.assert(
      fc.property(
        workingSet,
        fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 2, 7, 8, 0x55, 0x80, 0xfe, 0xff)), {
          minLength: 1,
          maxLength: 4,
        }),
        (set, changes) => {
          const bytes = workingSetToBytes({ ...set, notes: {} })
          // The notes are not in one form only: they stay as they are.
          const changeable = bytes.length - 6
          for (const [at, value] of changes) bytes[at % changeable] = value
          withChecksum(bytes)
          let read: WorkingSet
          try {
            read = workingSetFromBytes(bytes, 'file')
          } catch (error) {
            expect(formatErrors).toContain((error as { code: unknown }).code)
            return
          }
          expect(workingSetToBytes(read).equals(bytes)).toBe(true)
        },
      ),
      { numRuns: 3000 },
    )
  })

  const written = headerBytes + none.length
  test.each<[string, Buffer, number]>([
    ['more groups than there may be', fileOf([none, none], (it) => it.writeUInt32LE(4097, 12)), 12],
    ['more groups than there are', fileOf([none, none], (it) => it.writeUInt32LE(1, 12)), written + 8],
    ['no page', fileOf([none, none], (it) => it.writeBigUInt64LE(0n, 16)), 16],
    ['2^32 - 1 pages', fileOf([none, none], (it) => it.writeBigUInt64LE(2n ** 32n - 1n, 16)), 16],
    ['2^64 - 1 pages', fileOf([none, none], (it) => it.writeBigUInt64LE(2n ** 64n - 1n, 16)), 16],
    ['no identity', fileOf([none, none], (it) => it.fill(0, 24, 40)), 24],
    ['a time of 2^53', fileOf([none, none], (it) => it.writeBigUInt64LE(2n ** 53n, 40)), 40],
    ['a window of 2^53', fileOf([none, none], (it) => it.writeBigUInt64LE(2n ** 53n, 48)), 48],
    ['a reserved byte', fileOf([none, none], (it) => it.writeUInt8(1, 11)), 9],
    ['reserved bytes', fileOf([none, none], (it) => it.writeUInt32LE(1, 60)), 60],
    ['notes longer than the file', fileOf([none, none], (it) => it.writeUInt32LE(1000, 56)), 56],
    ['notes of 2^32 - 1 bytes', fileOf([none, none], (it) => it.writeUInt32LE(2 ** 32 - 1, 56)), 56],
    ['notes longer than 64 KiB', fileOf([none, none], undefined, `{"a":"${'b'.repeat(65_536)}"}`), 56],
    ['notes that begin in a set', fileOf([none, none], (it) => it.writeUInt32LE(10, 56)), written],
    ['bytes between sets and notes', fileOf([none, none, none]), written + 8],
    ['a set of no known kind', fileOf([u32(2, 0), none]), headerBytes],
    ['a reserved byte of a set', fileOf([u32(0x100, 0), none]), headerBytes + 1],
    ['2^32 - 1 runs', fileOf([u32(0, 2 ** 32 - 1), none]), headerBytes + 4],
    ['an empty run', fileOf([runs(3, 0), none]), headerBytes + 12],
    ['runs that overlap', fileOf([runs(3, 2, 4, 1), none]), headerBytes + 16],
    ['runs that touch', fileOf([runs(3, 2, 5, 1), none]), headerBytes + 16],
    ['a run behind the image', fileOf([runs(999, 2), none]), headerBytes + 12],
    ['a run behind all', fileOf([runs(999, 2 ** 32 - 1), none]), headerBytes + 12],
    ['runs where a bitmap is smaller', fileOf([runs(0, 1, 2, 1), none]), headerBytes],
    ['a bitmap of 2^32 - 1 bytes', fileOf([u32(1, 2 ** 32 - 1, 0), none]), headerBytes + 4],
    ['a bitmap of no byte', fileOf([bitmap(0), none]), headerBytes + 12],
    ['a bitmap within 8 pages', fileOf([bitmap(4, 0x55), none]), headerBytes + 8],
    ['a bitmap that begins with a zero', fileOf([bitmap(0, 0, 0x55), none]), headerBytes + 12],
    ['a bitmap that ends with a zero', fileOf([bitmap(0, 0x55, 0), none]), headerBytes + 13],
    ['a bitmap behind the image', fileOf([bitmap(992, 0x55, 1), none]), headerBytes + 13],
    ['a bitmap far behind the image', fileOf([bitmap(2 ** 32 - 8, 0x55), none]), headerBytes + 12],
    ['a bitmap where runs are not larger', fileOf([bitmap(0, 0xff, 0xff, 0xff, 0xff), none]), headerBytes],
    ['an empty set as a bitmap', fileOf([u32(1, 0, 0), none]), headerBytes + 12],
    ['a page in both sets', fileOf([runs(3, 99), runs(3, 99)]), headerBytes + 16],
    ['notes that are a list', fileOf([none, none], undefined, '[]'), written + 8],
    ['notes that are not JSON', fileOf([none, none], undefined, '{'), written + 8],
    ['no notes', fileOf([none, none], undefined, ''), written + 8],
    [
      'notes of 60,000 levels',
      fileOf([none, none], undefined, `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`),
      written + 8,
    ],
  ])('with %s are refused, and the byte is told', (_, bytes, offset) => {
    expect(refusal(bytes)).toEqual({ code: 'FORMAT_INVALID', offset })
  })

  test('take the last page of an image, as a run and in a bitmap', () => {
    const inBitmap = workingSetFromBytes(fileOf([bitmap(992, 0x55), bitmap(992, 0xaa)]), 'file')
    expect(inBitmap.readOnly).toEqual(pageSetFromPages([992, 994, 996, 998]))
    expect(inBitmap.written).toEqual(pageSetFromPages([993, 995, 997, 999]))
    expect(workingSetFromBytes(fileOf([none, runs(900, 100)]), 'file').written).toEqual(pageRange(900, 100))
  })

  test('with notes that are not UTF-8 are refused', () => {
    const bytes = fileOf([none, none], undefined, '{"a":"bb"}')
    bytes[bytes.length - 8] = 0xff
    expect(refusal(withChecksum(bytes))).toEqual({ code: 'FORMAT_INVALID', offset: written + 8 })
  })

  test('with a fault in a group are refused at that group', () => {
    const time = (ms: bigint) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64LE(ms)
      return bytes
    }
    const groups = (...parts: Buffer[]) =>
      fileOf([runs(3, 400), none, ...parts], (it) => it.writeUInt32LE(parts.length / 2, 12))
    const first = headerBytes + 16 + 8
    const second = first + 24
    expect(refusal(groups(time(1n), runs(3, 99), time(1n), runs(102, 99)))).toBeUndefined()
    const invalid = (offset: number) => ({ code: 'FORMAT_INVALID', offset })
    expect(refusal(groups(time(1n), runs(3, 99), time(1n), runs(101, 99)))).toEqual(invalid(second))
    expect(refusal(groups(time(1n), runs(3, 99), time(0n), runs(102, 99)))).toEqual(invalid(second))
    expect(refusal(groups(time(1n), runs(3, 99), time(1n), none))).toEqual(invalid(second))
    expect(refusal(groups(time(1n), runs(2, 99)))).toEqual(invalid(first))
    expect(refusal(groups(time(2n ** 63n), runs(3, 99)))).toEqual(invalid(first))
  })

  test('of a newer version are for a newer Varve', () => {
    const bytes = workingSetToBytes(plain)
    bytes[8] = 2
    expect(refusal(bytes)).toEqual({ code: 'FORMAT_UNSUPPORTED', offset: 8 })
    bytes[8] = 0
    expect(refusal(bytes)).toEqual({ code: 'FORMAT_INVALID', offset: 8 })
  })

  test('are not written for what breaks the rules or does not fit', () => {
    const refused = (change: Partial<WorkingSet>) => {
      try {
        workingSetToBytes({ ...plain, ...change })
      } catch (error) {
        return isVarveError(error, 'INVALID_ARGUMENT')
      }
      return false
    }
    expect(intersect(plain.readOnly, plain.written)).toEqual(emptyPageSet)
    expect(refused({ written: plain.readOnly })).toBe(true)
    expect(refused({ notes: { text: 'ä'.repeat(32_764) } })).toBe(true)
    expect(refused({ notes: { text: 'ä'.repeat(32_762) } })).toBe(false)
  })
})
