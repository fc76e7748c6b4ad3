import { guestFile } from '../guest-file.js'
import { textOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

export const hello: LabFunction = {
  name: 'hello',
  about: 'greets: next to no work of its own',
  runtime: 'python',
  packages: [],
  unit: 'bytes',
  inputs: { a: { size: 16, seed: 1 }, b: { size: 16, seed: 2 }, a4: { size: 64, seed: 1 } },
  makeInput: ({ size, seed }) => Buffer.from(textOf(seed, size)),
  fault: (input, output) => unequal(`hello, ${input}`, output),
  source: guestFile('functions/hello.py'),
}
