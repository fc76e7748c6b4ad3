import { inflateSync } from 'node:zlib'

export interface Pixels {
  readonly width: number
  readonly height: number
  /** Red, green, blue, row by row. */
  readonly pixels: Buffer
}

const signature = '89504e470d0a1a0a'
const bytesPerPixel = 3

/**
 * Reads a PNG of 8-bit RGB without interlacing, of at most `maxBytes` of pixels (W3C PNG, 3rd edition,
 * 9.2 on filters). Throws an Error that says what is wrong with anything else. Checksums of chunks are
 * not looked at: the pixels are.
 */
export function pngPixels(png: Buffer, maxBytes: number): Pixels {
  if (png.toString('hex', 0, 8) !== signature) throw new Error('no PNG signature')
  const data: Buffer[] = []
  let size: { width: number; height: number } | undefined
  for (let at = 8; at + 12 <= png.length; ) {
    const length = png.readUInt32BE(at)
    const kind = png.toString('latin1', at + 4, at + 8)
    const body = png.subarray(at + 8, at + 8 + length)
    if (body.length < length) throw new Error(`chunk ${kind} is cut off`)
    if (kind === 'IHDR' && length === 13) {
      if (body.toString('hex', 8) !== '0802000000') throw new Error('not 8-bit RGB without interlacing')
      size = { width: body.readUInt32BE(0), height: body.readUInt32BE(4) }
    }
    if (kind === 'IDAT') data.push(body)
    at += 12 + length
  }
  if (size === undefined) throw new Error('no header')
  if (size.width === 0 || size.height === 0) throw new Error('no pixels')
  const stride = size.width * bytesPerPixel
  if (size.height * stride > maxBytes) throw new Error(`${size.width} × ${size.height} pixels`)
  const rows = inflateSync(Buffer.concat(data), { maxOutputLength: maxBytes + size.height + 1 })
  if (rows.length !== size.height * (stride + 1)) throw new Error(`${rows.length} bytes of rows`)
  const pixels = Buffer.alloc(size.height * stride)
  for (let y = 0; y < size.height; y++) {
    const row = rows.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1))
    unfilter(rows[y * (stride + 1)] as number, row, pixels, y * stride, y === 0 ? -1 : (y - 1) * stride)
  }
  return { ...size, pixels }
}

function unfilter(filter: number, row: Buffer, pixels: Buffer, to: number, above: number): void {
  if (filter > 4) throw new Error(`filter ${filter}`)
  for (let i = 0; i < row.length; i++) {
    const a = i < bytesPerPixel ? 0 : (pixels[to + i - bytesPerPixel] as number)
    const b = above < 0 ? 0 : (pixels[above + i] as number)
    const c = above < 0 || i < bytesPerPixel ? 0 : (pixels[above + i - bytesPerPixel] as number)
    const guess = [0, a, b, (a + b) >> 1, paeth(a, b, c)][filter] as number
    pixels[to + i] = ((row[i] as number) + guess) & 0xff
  }
}

function paeth(a: number, b: number, c: number): number {
  const p = a + b - c
  const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)]
  if (pa <= pb && pa <= pc) return a
  return pb <= pc ? b : c
}
