import { guestFile } from '../guest-file.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

export const mmapTouch: LabFunction = {
  name: 'mmap-touch',
  about: 'maps fresh memory, writes a word into each page, reads them all, and gives the memory back',
  runtime: 'python',
  packages: [],
  unit: 'pages',
  inputs: { a: { size: 2048, seed: 1 }, b: { size: 2048, seed: 2 }, a4: { size: 8192, seed: 1 } },
  makeInput: ({ size, seed }) => Buffer.from(`${seed} ${size}`),
  fault: (input, output) => {
    const [seed, pages] = input.toString('latin1').split(' ').map(Number) as [number, number]
    return unequal(String(pages * seed + (pages * (pages - 1)) / 2), output)
  },
  source: guestFile('functions/mmap-touch.py'),
}
