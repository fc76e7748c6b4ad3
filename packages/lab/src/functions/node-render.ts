import { guestFile } from '../guest-file.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'
import { orderPage, orderPageInput } from './order-page.js'

export const nodeRender: LabFunction = {
  name: 'node-render',
  about: 'the page of html, by Node: a heavy runtime, with a compiler that goes on working',
  runtime: 'node',
  packages: [],
  unit: 'orders',
  inputs: { a: { size: 300, seed: 1 }, b: { size: 300, seed: 2 }, a4: { size: 1200, seed: 1 } },
  makeInput: orderPageInput,
  fault: (input, output) => unequal(orderPage(input), output),
  source: guestFile('functions/node-render.mjs'),
}
