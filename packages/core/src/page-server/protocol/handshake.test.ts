import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError, VarveError } from '../../errors.js'
import { maxHandshakeBytes, maxRegions, parseHandshake } from './handshake.js'

const page = 4096
const imagePages = 1000

interface Region {
  readonly base_host_virt_addr: number
  readonly size: number
  readonly offset: number
  readonly [other: string]: unknown
}

const region = (address: number, firstPage: number, pages: number, more: object = {}): Region => ({
  base_host_virt_addr: address,
  size: pages * page,
  offset: firstPage * page,
  page_size: page,
  page_size_kib: page,
  ...more,
})

/** `count`: of huge pages. */
const huge = (address: number, firstPage: number, count: number) =>
  region(address, firstPage, 512 * count, { page_size: 2 ** 21, page_size_kib: 2 ** 21 })

const parse = (value: unknown, pages = imagePages) =>
  parseHandshake(Buffer.from(JSON.stringify(value)), pages)?.regions

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (isVarveError(error, 'PAGE_SERVER_PROTOCOL')) return error.message
    throw error
  }
  throw new Error('was accepted')
}

describe('a valid handshake', () => {
  test('gives the regions by address, in pages', () => {
    expect(parse([region(0x7f00_0000_0000, 0, 600), region(0x7e00_0000_0000, 600, 400)])).toEqual([
      { address: 0x7e00_0000_0000, firstPage: 600, pages: 400 },
      { address: 0x7f00_0000_0000, firstPage: 0, pages: 600 },
    ])
  })

  test('says whether memory is huge pages', () => {
    const parsed = (value: unknown) => parseHandshake(Buffer.from(JSON.stringify(value)), imagePages)
    expect(parsed([huge(2 ** 21, 0, 1)])).toEqual({
      regions: [{ address: 2 ** 21, firstPage: 0, pages: 512 }],
      hugePages: true,
    })
    expect(parsed([region(page, 0, 1)])).toMatchObject({ hugePages: false })
  })

  test('the page size counts bytes under its old name too, and may be missing', () => {
    const { page_size, ...old } = region(page, 0, 1)
    expect(page_size).toBe(page)
    expect(parse([old])).toHaveLength(1)
    const { page_size_kib: _, ...oldest } = old
    expect(parse([oldest])).toHaveLength(1)
  })

  test('one that ends exactly with the image, and neighbours that touch, are accepted', () => {
    expect(parse([region(page, 0, 500), region(501 * page, 500, 500)])).toHaveLength(2)
  })

  test('survives being cut anywhere: incomplete until the last byte', () => {
    const bytes = Buffer.from(JSON.stringify([region(page, 0, 5), region(page * 10, 5, 5)]))
    for (let end = 0; end < bytes.length; end++)
      expect(parseHandshake(bytes.subarray(0, end), imagePages)).toBeUndefined()
    expect(parseHandshake(bytes, imagePages)?.regions).toHaveLength(2)
  })
})

describe('a hostile handshake', () => {
  test.each<[string, unknown, string]>([
    ['no region', [], 'names 0 regions'],
    ['not an object', [7], 'region 0 is not an object'],
    ['null', [null], 'region 0 is not an object'],
    ['no size', [{ base_host_virt_addr: 0, offset: 0 }], 'size is undefined'],
    ['an empty region', [region(page, 0, 0)], 'is empty'],
    ['a text as address', [region(page, 0, 1, { base_host_virt_addr: '4096' })], 'base_host_virt_addr is'],
    ['a negative offset', [region(page, -1, 1)], 'offset is -4096'],
    ['an odd address', [region(page + 1, 0, 1)], 'address 4097 is not a whole number of pages'],
    ['an odd size', [region(page, 0, 1, { size: 100 })], 'size 100 is not a whole number of pages'],
    ['an odd offset', [region(page, 0, 1, { offset: 100 })], 'offset 100 is not a whole number'],
    ['huge pages at an odd address', [huge(page, 0, 1)], 'address 4096 is not a whole number of pages'],
    ['huge pages from an odd page', [huge(2 ** 21, 1, 1)], 'offset 4096 is not a whole number of pages'],
    ['half a huge page', [huge(2 ** 21, 0, 0.5)], 'size 1048576 is not a whole number of pages'],
    ['huge pages of 1 GiB', [region(0, 0, 2 ** 18, { page_size: 2 ** 30 })], 'pages of 1073741824 bytes'],
    [
      'pages of two sizes',
      [huge(2 ** 21, 0, 1), region(page, 512, 1)],
      'pages of 4096 bytes, the first 2097152',
    ],
    ['KiB in page_size_kib', [region(page, 0, 1, { page_size: undefined, page_size_kib: 4 })], 'pages of 4'],
    ['more than the image', [region(page, 0, 1001)], 'ends at page 1001, the image at 1000'],
    ['an offset beyond the image', [region(page, 1000, 1)], 'ends at page 1001'],
    ['a far offset', [region(page, 2 ** 40, 1)], 'the image at 1000'],
    ['an address above user space', [region(2 ** 47 + page, 0, 1)], 'base_host_virt_addr is'],
    ['an end above user space', [region(2 ** 47 - page, 0, 2)], 'ends above'],
    ['overlap by address', [region(page, 0, 10), region(10 * page, 10, 10)], 'overlapping'],
    ['overlap by page', [region(page, 0, 10), region(100 * page, 9, 10)], 'overlapping'],
    ['the same region twice', [region(page, 0, 10), region(page, 0, 10)], 'overlapping'],
  ])('%s', (_name, value, message) => {
    expect(refusal(() => parse(value))).toContain(message)
  })

  test('an overlap hidden behind a longer region is found', () => {
    const within = [region(page, 0, 100), region(50 * page, 200, 1), region(101 * page, 300, 1)]
    expect(refusal(() => parse(within))).toContain('overlapping')
  })

  test.each([
    ['another first byte', '{"a":1}', 'does not begin'],
    ['bytes behind the end', '[]x', 'has 1 bytes behind its end'],
    ['nested arrays', '[[]]', 'behind its end'],
    ['broken JSON', '[{"size":}]', 'is not JSON'],
    ['bytes that are no UTF-8', Buffer.from([0x5b, 0xff, 0xfe, 0x5d]), 'is not JSON'],
  ])('%s', (_name, bytes, message) => {
    expect(refusal(() => parseHandshake(Buffer.from(bytes as string), imagePages))).toContain(message)
  })

  test('more regions or bytes than allowed', () => {
    const many = Array.from({ length: maxRegions + 1 }, (_, index) => index)
    expect(refusal(() => parse(many))).toContain(`names ${maxRegions + 1} regions`)
    const long = Buffer.alloc(maxHandshakeBytes + 1, ' ')
    long[0] = 0x5b
    expect(refusal(() => parseHandshake(long, imagePages))).toContain('exceeds')
  })

  test('arbitrary bytes and JSON give regions within the image or PAGE_SERVER_PROTOCOL, nothing else', () => {
    const anyNumber = fc.oneof(
      fc.nat({ max: 2000 }).map((pages) => pages * page),
      fc.double(),
      fc.maxSafeInteger(),
    )
    const anyRegion = fc.record(
      {
        base_host_virt_addr: fc.oneof(anyNumber, fc.jsonValue()),
        size: anyNumber,
        offset: anyNumber,
        page_size: fc.oneof(fc.constant(page), fc.jsonValue()),
      },
      { requiredKeys: [] },
    )
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from([0x5b, ...bytes, 0x5d])),
      fc.array(fc.jsonValue()).map((value) => Buffer.from(JSON.stringify(value))),
      fc.array(anyRegion).map((value) => Buffer.from(JSON.stringify(value))),
    )
    fc.assert(
      fc.property(message, (bytes) => {
        let parsed: ReturnType<typeof parseHandshake>
        try {
          parsed = parseHandshake(bytes, imagePages)
        } catch (error) {
          expect(error).toBeInstanceOf(VarveError)
          expect((error as VarveError).code).toBe('PAGE_SERVER_PROTOCOL')
          return
        }
        for (const it of parsed?.regions ?? []) {
          expect(it.pages).toBeGreaterThan(0)
          expect(it.firstPage + it.pages).toBeLessThanOrEqual(imagePages)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
