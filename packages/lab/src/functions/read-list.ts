import { guestFile } from '../guest-file.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

/** 32 MiB: a pointer is 8 bytes. */
const listPages = 8192
const perPage = 512
/** Python keeps the numbers up to 256 once, so that the list is nothing but pointers. */
const period = 251

export const readList: LabFunction = {
  name: 'read-list',
  about: 'reads one entry in each page of a list of 32 MiB that it made when it was loaded',
  runtime: 'python',
  packages: [],
  unit: 'pages',
  inputs: {
    a: { size: listPages / 4, seed: 0 },
    b: { size: listPages / 4, seed: 2 },
    a4: { size: listPages, seed: 0 },
  },
  /** The seed is the quarter of the list at which it begins. */
  makeInput: ({ size, seed }) => Buffer.from(`${(seed * listPages) / 4} ${size}`),
  fault: (input, output) => {
    const [first, pages] = input.toString('latin1').split(' ').map(Number) as [number, number]
    let sum = 0
    for (let page = first; page < first + pages; page++) sum += (page * perPage) % period
    return unequal(String(sum), output)
  },
  source: guestFile('functions/read-list.py'),
}
