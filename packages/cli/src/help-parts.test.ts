import { expect, test } from 'vitest'
import { helpParts } from './help-parts.js'
import { verbs } from './verbs.js'

const all = Object.entries(verbs).flatMap(([name, entry]) =>
  'verbs' in entry
    ? Object.entries(entry.verbs).map(([sub, verb]) => ({ name: `${name} ${sub}`, verb }))
    : [{ name, verb: entry }],
)

test('arguments, options with one and several values, paragraphs, examples', () => {
  const parts = helpParts({
    usage: 'usage: varve do REF [options] | varve do --all\n       varve do --none',
    help: `
  REF                    the snapshot
  -n, --count N          how many,
                         default 2
  --engine file          one
  --engine auto          another
  --rounds N, --out DIR
             as for another verb

A paragraph
of two lines.

Another.

Examples:
  varve do monday
  varve do --all`,
  })
  expect(parts).toEqual({
    usage: ['varve do REF [options]', 'varve do --all', 'varve do --none'],
    described: [
      { term: 'REF', option: null, value: '', text: 'the snapshot' },
      { term: '-n, --count N', option: '--count', value: 'N', text: 'how many, default 2' },
      { term: '--engine file', option: '--engine', value: 'file', text: 'one' },
      { term: '--engine auto', option: '--engine', value: 'auto', text: 'another' },
      { term: '--rounds N', option: '--rounds', value: 'N', text: '' },
      { term: '--out DIR', option: '--out', value: 'DIR', text: 'as for another verb' },
    ],
    paragraphs: ['A paragraph of two lines.', 'Another.'],
    examples: ['varve do monday', 'varve do --all'],
  })
})

test.each(all)('$name: each of its options is found in its help, with its value', async ({ verb }) => {
  const { command } = await verb.load()
  const parts = helpParts(command)
  expect(parts.examples.length).toBeGreaterThan(0)
  const text = `${command.usage}\n${command.help}`
  for (const [name, { type }] of Object.entries(command.options)) {
    if (name === 'store') continue
    const found = parts.described.filter(({ option }) => option === `--${name}`)
    if (found.length === 0) expect(text).toContain(`--${name}`)
    for (const { value } of found) expect(value !== '', `--${name} ${value}`).toBe(type === 'string')
  }
})
