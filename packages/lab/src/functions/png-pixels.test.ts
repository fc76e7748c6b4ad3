import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pngPixels } from './png-pixels.js'

function chunk(kind: string, body: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(body.length, 0)
  head.write(kind, 4, 'latin1')
  return Buffer.concat([head, body, Buffer.alloc(4)])
}

function header(width: number, height: number, rest = '0802000000'): Buffer {
  const size = Buffer.alloc(8)
  size.writeUInt32BE(width, 0)
  size.writeUInt32BE(height, 4)
  return chunk('IHDR', Buffer.concat([size, Buffer.from(rest, 'hex')]))
}

const signature = Buffer.from('89504e470d0a1a0a', 'hex')
const end = chunk('IEND', Buffer.alloc(0))

/** Row y is written with filter `filters[y]`, straight from the definition of what a filter takes away. */
function png(width: number, pixels: Buffer, filters: readonly number[]): Buffer {
  const stride = width * 3
  const at = (y: number, i: number) => (y < 0 || i < 0 ? 0 : (pixels[y * stride + i] as number))
  const rows = filters.map((filter, y) => {
    const row = Buffer.alloc(stride + 1)
    row[0] = filter
    for (let i = 0; i < stride; i++) {
      const [left, above, corner] = [at(y, i - 3), at(y - 1, i), i < 3 ? 0 : at(y - 1, i - 3)]
      const nearest = [left, above, corner].reduce((best, it) => {
        const p = left + above - corner
        return Math.abs(p - it) < Math.abs(p - best) ? it : best
      }, left)
      const taken = [0, left, above, Math.floor((left + above) / 2), nearest][filter] as number
      row[i + 1] = (at(y, i) - taken) & 0xff
    }
    return row
  })
  const data = deflateSync(Buffer.concat(rows))
  const cut = data.length >> 1
  const parts = [chunk('IDAT', data.subarray(0, cut)), chunk('IDAT', data.subarray(cut))]
  return Buffer.concat([signature, header(width, filters.length), ...parts, end])
}

describe('pngPixels', () => {
  test('gives back what any filters were applied to', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 9 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 255 })),
        (width, filters, stream) => {
          const pixels = Buffer.from([...stream.take(width * 3 * filters.length)])
          const read = pngPixels(png(width, pixels, filters), pixels.length)
          expect(read).toEqual({ width, height: filters.length, pixels })
        },
      ),
    )
  })

  const whole = png(2, Buffer.alloc(12, 7), [0, 1])
  const data = (bytes: Buffer) => chunk('IDAT', deflateSync(bytes))
  test.each<[string, Buffer, string]>([
    ['another signature', Buffer.from('P6\n2 2\n255\n'), 'no PNG signature'],
    ['nothing behind the signature', signature, 'no header'],
    ['a chunk that is cut off', whole.subarray(0, 8 + 25 + 13), 'is cut off'],
    ['pixels of 16 bits', Buffer.concat([signature, header(2, 2, '1002000000')]), 'not 8-bit'],
    ['no width', Buffer.concat([signature, header(0, 0xffff_ffff), end]), 'no pixels'],
    ['more pixels than wanted', Buffer.concat([signature, header(3, 2), end]), '3 × 2'],
    [
      'more rows than it says',
      Buffer.concat([signature, header(2, 2), data(Buffer.alloc(1000)), end]),
      'larger than',
    ],
    [
      'fewer rows than it says',
      Buffer.concat([signature, header(2, 2), data(Buffer.alloc(7)), end]),
      '7 bytes',
    ],
    [
      'an unknown filter',
      Buffer.concat([signature, header(2, 2), data(Buffer.alloc(14, 5)), end]),
      'filter 5',
    ],
  ])('refuses %s', (_, bytes, words) => {
    expect(() => pngPixels(bytes, 12)).toThrow(words)
  })
})
