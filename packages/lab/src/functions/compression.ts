import { inflateSync } from 'node:zlib'
import { guestFile } from '../guest-file.js'
import { textOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

export const compression: LabFunction = {
  name: 'compression',
  about: 'compresses text with zlib',
  runtime: 'python',
  packages: [],
  unit: 'bytes',
  inputs: { a: { size: 65_536, seed: 1 }, b: { size: 65_536, seed: 2 }, a4: { size: 262_144, seed: 1 } },
  makeInput: ({ size, seed }) => Buffer.from(textOf(seed, size)),
  // Which bytes they become is the library's business, which is not the same on both sides:
  // what counts is what comes back.
  fault: (input, output) => {
    if (output.length * 2 > input.length) return `${input.length} bytes became ${output.length}`
    try {
      return unequal(input, inflateSync(output, { maxOutputLength: input.length + 1 }))
    } catch (error) {
      return `it does not unpack: ${error instanceof Error ? error.message : error}`
    }
  },
  source: guestFile('functions/compression.py'),
}
