import { expect, test } from 'vitest'
import { generated, replaceGenerated } from './generated.js'

const page = `# Title

By hand.

${generated('table', '| old |')}

Also by hand, between the parts.

${generated('machine', 'old machine')}
`

test('generated parts are replaced, the rest stays', () => {
  const next = replaceGenerated(page, { table: '| new |\n', machine: 'new machine' })
  expect(next).toBe(page.replace('| old |', '| new |').replace('old machine', 'new machine'))
  expect(replaceGenerated(page, { table: '| new |' })).toContain('old machine')
  // A pattern of String.replace is text like any other.
  expect(replaceGenerated(page, { table: "$& $' $1" })).toContain("\n$& $' $1\n")
})

test('a part that the page does not have once is an error', () => {
  expect(() => replaceGenerated(page, { other: 'x' })).toThrow('generated part other')
  expect(() => replaceGenerated(page.replace('<!-- end: table -->', ''), { table: 'x' })).toThrow('table')
  expect(() => replaceGenerated(page + page, { table: 'x' })).toThrow('table')
})
