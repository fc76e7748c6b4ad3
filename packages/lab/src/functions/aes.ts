import { createCipheriv } from 'node:crypto'
import { guestFile } from '../guest-file.js'
import { bytesOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

const keyBytes = 16
const blockBytes = 16

export const aes: LabFunction = {
  name: 'aes',
  about: 'encrypts with AES-128 in counter mode, in Python alone (FIPS 197, SP 800-38A)',
  runtime: 'python',
  packages: [],
  unit: 'blocks',
  inputs: { a: { size: 128, seed: 1 }, b: { size: 128, seed: 2 }, a4: { size: 512, seed: 1 } },
  makeInput: ({ size, seed }) => bytesOf(seed, keyBytes + blockBytes + size * blockBytes),
  fault: (input, output) => {
    const counterAt = keyBytes
    const textAt = keyBytes + blockBytes
    const cipher = createCipheriv(
      'aes-128-ctr',
      input.subarray(0, counterAt),
      input.subarray(counterAt, textAt),
    )
    return unequal(Buffer.concat([cipher.update(input.subarray(textAt)), cipher.final()]), output)
  },
  source: guestFile('functions/aes.py'),
}
