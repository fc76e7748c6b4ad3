import { type Order, ordersOf } from './content.js'
import type { FunctionInput } from './function-types.js'

/** The work that `html` does in Python and `node-render` in Node. */
export interface OrderPage {
  readonly title: string
  readonly orders: readonly Order[]
}

export const orderPageInput = ({ size, seed }: FunctionInput): Buffer =>
  Buffer.from(
    JSON.stringify({ title: `orders of <day ${seed}>`, orders: ordersOf(seed, size) } satisfies OrderPage),
  )

/** What either has to give. */
export function orderPage(input: Buffer): string {
  const { title, orders } = JSON.parse(input.toString('utf8')) as OrderPage
  const rows = orders.map(
    ({ sku, quantity, cents }, i) =>
      `<tr class="${i % 2 === 0 ? 'even' : 'odd'}"><td>${escaped(sku)}</td><td>${quantity}</td><td>${price(cents)}</td></tr>\n`,
  )
  const sum = orders.reduce((total, { quantity, cents }) => total + quantity * cents, 0)
  return `<h1>${escaped(title)}</h1>\n<table>\n${rows.join('')}</table>\n<p>${orders.length} orders, ${price(sum)}</p>\n`
}

const price = (cents: number) => (cents / 100).toFixed(2)

const escaped = (text: string) =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
