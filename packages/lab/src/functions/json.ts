import { guestFile } from '../guest-file.js'
import { type Order, ordersOf } from './content.js'
import { unequal } from './fault.js'
import type { LabFunction } from './function-types.js'

export const json: LabFunction = {
  name: 'json',
  about: 'reads orders from JSON, sums them by article, writes JSON',
  runtime: 'python',
  packages: [],
  unit: 'orders',
  inputs: { a: { size: 500, seed: 1 }, b: { size: 500, seed: 2 }, a4: { size: 2000, seed: 1 } },
  makeInput: ({ size, seed }) => Buffer.from(JSON.stringify(ordersOf(seed, size))),
  fault: (input, output) => unequal(JSON.stringify(totals(JSON.parse(input.toString('utf8')))), output),
  source: guestFile('functions/json.py'),
}

function totals(orders: readonly Order[]): [string, number][] {
  const sums = new Map<string, number>()
  for (const { sku, quantity, cents } of orders) sums.set(sku, (sums.get(sku) ?? 0) + quantity * cents)
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1))
}
