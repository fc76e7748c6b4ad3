const entities = new Map([
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
  ["'", '&#39;'],
])
const escaped = (value) => String(value).replace(/[&<>"']/g, (it) => entities.get(it))
const price = (cents) => `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`

export function handle(data) {
  const { title, orders } = JSON.parse(data)
  const out = ['<h1>', escaped(title), '</h1>\n<table>\n']
  let sum = 0
  for (const [i, { sku, quantity, cents }] of orders.entries()) {
    sum += quantity * cents
    out.push('<tr class="', i % 2 ? 'odd' : 'even', '">')
    for (const cell of [sku, quantity, price(cents)]) out.push('<td>', escaped(cell), '</td>')
    out.push('</tr>\n')
  }
  out.push('</table>\n<p>', orders.length, ' orders, ', price(sum), '</p>\n')
  return out.join('')
}
