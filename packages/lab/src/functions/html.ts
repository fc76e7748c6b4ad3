import { guestFile } from '../guest-file.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'
import { orderPage, orderPageInput } from './order-page.js'

export const html: LabFunction = {
  name: 'html',
  about: 'fills a page of HTML from a template that was compiled to Python',
  runtime: 'python',
  packages: [],
  unit: 'orders',
  inputs: { a: { size: 300, seed: 1 }, b: { size: 300, seed: 2 }, a4: { size: 1200, seed: 1 } },
  makeInput: orderPageInput,
  fault: (input, output) => unequal(orderPage(input), output),
  source: guestFile('functions/html.py'),
}
