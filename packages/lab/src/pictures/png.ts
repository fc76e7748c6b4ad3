import { crc32, deflateSync } from 'node:zlib'
import { VarveError } from 'varve'

/** Red, green, blue, and opacity if it is not whole; 0 to 255 each. */
export type Colour = readonly [red: number, green: number, blue: number, alpha?: number]

interface IndexedImage {
  readonly width: number
  readonly height: number
  /** One byte a pixel, row by row: a number of a colour. */
  readonly pixels: Uint8Array
  /** 1 to 256 colours. */
  readonly palette: readonly Colour[]
}

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const bitDepth = 8
const palettedColour = 3

/** A PNG file (W3C PNG, third edition) of 8-bit palette colours, without interlacing. */
export function encodePng({ width, height, pixels, palette }: IndexedImage): Buffer {
  if (width < 1 || height < 1 || width * height !== pixels.length)
    throw new VarveError('INVALID_ARGUMENT', `${pixels.length} pixels are not ${width} × ${height}`)
  if (palette.length < 1 || palette.length > 256)
    throw new VarveError('INVALID_ARGUMENT', `a palette of ${palette.length} colours is not of 1 to 256`)
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = bitDepth
  header[9] = palettedColour
  const colours = Buffer.alloc(3 * palette.length)
  const opacity = Buffer.alloc(palette.length)
  for (const [number, [red, green, blue, alpha = 255]] of palette.entries()) {
    colours.set([red, green, blue], 3 * number)
    opacity[number] = alpha
  }
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('PLTE', colours),
    ...(opacity.every((alpha) => alpha === 255) ? [] : [chunk('tRNS', opacity)]),
    chunk('IDAT', deflateSync(scanLines(width, height, pixels))),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** Each row behind a byte for its filter: 0, none, which is right for palette colours. */
function scanLines(width: number, height: number, pixels: Uint8Array): Buffer {
  const lines = Buffer.alloc((width + 1) * height)
  for (let row = 0; row < height; row++)
    lines.set(pixels.subarray(row * width, (row + 1) * width), row * (width + 1) + 1)
  return lines
}

/** Length, type, data, and the CRC-32 of type and data. */
function chunk(type: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + data.length)
  bytes.writeUInt32BE(data.length, 0)
  bytes.write(type, 4, 'latin1')
  bytes.set(data, 8)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length)
  return bytes
}
