import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { composeExtentMap } from './compose-extent-map.js'
import { lookupPage } from './extent-map.js'
import { extentMapFromBytes, extentMapToBytes } from './extent-map-bytes.js'
import { flatIndex } from './layer-index.js'

const pages = 24
const plan = fc.array(fc.nat(2), { minLength: pages, maxLength: pages })
const stack = fc.array(plan, { minLength: 1, maxLength: 5 })

const mapOf = (plans: readonly (readonly number[])[]) =>
  composeExtentMap(
    plans.map((values) => {
      const where = (kind: number) =>
        pageSetFromPages(values.flatMap((value, page) => (value === kind ? [page] : [])))
      return flatIndex(pages, where(1), where(2))
    }),
  )

const withChecksum = (bytes: Buffer) => {
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (!isVarveError(error)) throw error
    expect(error.details).toMatchObject({ path: 'map' })
    expect(typeof error.details.offset).toBe('number')
    return error.code
  }
  return 'none'
}

describe('extent map as a file', () => {
  test('round trip', () => {
    fc.assert(
      fc.property(stack, (plans) => {
        const map = mapOf(plans)
        const stored = plans.map(() => pages)
        expect(extentMapFromBytes(extentMapToBytes(map, plans.length), stored, 'map')).toEqual(map)
      }),
    )
  })

  test('every flipped bit and every truncation is refused, with its place', () => {
    const map = mapOf([
      Array.from({ length: pages }, (_, i) => i % 3),
      Array.from({ length: pages }, (_, i) => i % 2),
    ])
    const bytes = extentMapToBytes(map, 2)
    for (let at = 0; at < bytes.length * 8; at++) {
      const broken = Buffer.from(bytes)
      broken[at >> 3] = (broken[at >> 3] as number) ^ (1 << (at & 7))
      expect(codeOf(() => extentMapFromBytes(broken, [pages, pages], 'map'))).not.toBe('none')
    }
    for (let size = 0; size < bytes.length; size++)
      expect(codeOf(() => extentMapFromBytes(bytes.subarray(0, size), [pages, pages], 'map'))).toBe(
        'FORMAT_INVALID',
      )
  })

  test('a map for other layers, or of a newer version, is refused', () => {
    const bytes = extentMapToBytes(mapOf([Array(pages).fill(1)]), 1)
    expect(codeOf(() => extentMapFromBytes(bytes, [pages, pages], 'map'))).toBe('FORMAT_INVALID')
    expect(codeOf(() => extentMapFromBytes(bytes, [pages - 1], 'map'))).toBe('FORMAT_INVALID')
    const newer = Buffer.from(bytes)
    newer[8] = 2
    expect(codeOf(() => extentMapFromBytes(withChecksum(newer), [pages], 'map'))).toBe('FORMAT_UNSUPPORTED')
  })

  test('hostile runs with a right checksum are refused or stay within their layers', () => {
    const bytes = extentMapToBytes(
      composeExtentMap([
        flatIndex(pages, pageRange(0, 8), pageRange(8, 16)),
        flatIndex(pages, pageRange(2, 3), pageRange(0, 0)),
      ]),
      2,
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 12, max: bytes.length - 5 }), fc.nat(255)), {
          minLength: 1,
          maxLength: 5,
        }),
        (changes) => {
          const broken = Buffer.from(bytes)
          for (const [at, value] of changes) broken[at] = value
          try {
            const map = extentMapFromBytes(withChecksum(broken), [pages, pages], 'map')
            for (let page = 0; page < map.pages; page++) {
              const { source, storedPage } = lookupPage(map, page)
              if (source >= 0) expect(storedPage).toBeLessThan(pages)
            }
          } catch (error) {
            expect(isVarveError(error)).toBe(true)
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})
