import { guestFile } from '../guest-file.js'
import { bytesOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'
import { pngPixels } from './png-pixels.js'

/** Pixels of one colour next to each other, as in a picture: noise would not compress. */
const tile = 8

export const image: LabFunction = {
  name: 'image',
  about: 'turns a picture by a quarter and writes it as PNG, with PIL',
  runtime: 'python',
  packages: ['python3-pil'],
  unit: 'pixels',
  inputs: { a: { size: 256 ** 2, seed: 1 }, b: { size: 256 ** 2, seed: 2 }, a4: { size: 512 ** 2, seed: 1 } },
  makeInput: ({ size, seed }) => {
    const side = Math.sqrt(size)
    const tiles = side / tile
    const colours = bytesOf(seed, tiles * tiles * 3)
    const pixels = Buffer.alloc(size * 3)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        for (let c = 0; c < 3; c++) {
          const colour = colours[(Math.floor(y / tile) * tiles + Math.floor(x / tile)) * 3 + c] as number
          pixels[(y * side + x) * 3 + c] = (colour + x + y) & 0xff
        }
    return Buffer.concat([Buffer.from(`P6\n${side} ${side}\n255\n`), pixels])
  },
  fault: (input, output) => {
    const header = /^P6\n(\d+) \d+\n255\n/.exec(input.toString('latin1', 0, 32)) as RegExpExecArray
    const side = Number(header[1])
    const pixels = input.subarray(header[0].length)
    const turned = Buffer.alloc(pixels.length)
    // PIL's ROTATE_90 is against the clock: the right edge becomes the top.
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        pixels.copy(turned, ((side - 1 - x) * side + y) * 3, (y * side + x) * 3, (y * side + x + 1) * 3)
    try {
      const png = pngPixels(output, side * side * 3)
      if (png.width !== side || png.height !== side)
        return `${png.width} × ${png.height} pixels, not ${side} × ${side}`
      return unequal(turned, png.pixels)
    } catch (error) {
      return `not the PNG that was wanted: ${error instanceof Error ? error.message : error}`
    }
  },
  source: guestFile('functions/image.py'),
}
