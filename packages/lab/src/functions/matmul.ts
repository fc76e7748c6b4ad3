import { guestFile } from '../guest-file.js'
import { bytesOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

export const matmul: LabFunction = {
  name: 'matmul',
  about: 'multiplies two square matrices with numpy',
  runtime: 'python',
  packages: ['python3-numpy'],
  unit: 'entries',
  inputs: { a: { size: 96 ** 2, seed: 1 }, b: { size: 96 ** 2, seed: 2 }, a4: { size: 192 ** 2, seed: 1 } },
  makeInput: ({ size, seed }) => bytesOf(seed, 2 * size),
  fault: (input, output) => unequal(product(input), output),
  // Entries are bytes, so sums stay far below 2^53: floating-point numbers give exactly what integers do.
  source: guestFile('functions/matmul.py'),
}

function product(input: Buffer): Buffer {
  const size = input.length / 2
  const side = Math.sqrt(size)
  const output = Buffer.alloc(size * 4)
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      let sum = 0
      for (let i = 0; i < side; i++)
        sum += (input[row * side + i] as number) * (input[size + i * side + column] as number)
      output.writeUInt32LE(sum, (row * side + column) * 4)
    }
  return output
}
