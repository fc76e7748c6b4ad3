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
  source: String.raw`const entities = new Map([['&', '&amp;'], ['<', '&lt;'], ['>', '&gt;'], ['"', '&quot;'], ["'", '&#39;']])
const escape = (value) => String(value).replace(/[&<>"']/g, (it) => entities.get(it))
const price = (cents) => Math.floor(cents / 100) + '.' + String(cents % 100).padStart(2, '0')

export function handle(data) {
  const { title, orders } = JSON.parse(data)
  const out = ['<h1>', escape(title), '</h1>\n<table>\n']
  let sum = 0
  for (const [i, { sku, quantity, cents }] of orders.entries()) {
    sum += quantity * cents
    out.push('<tr class="', i % 2 ? 'odd' : 'even', '">')
    for (const cell of [sku, quantity, price(cents)]) out.push('<td>', escape(cell), '</td>')
    out.push('</tr>\n')
  }
  out.push('</table>\n<p>', orders.length, ' orders, ', price(sum), '</p>\n')
  return out.join('')
}
`,
}
