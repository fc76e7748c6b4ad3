import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorRegistry, isVarveError, VarveError } from './errors.js'

const page = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8')

test('docs/errors.md lists every code with its exit status and summary, and no other', () => {
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (.+?) \|/gm)].map((m) => [
    m[1],
    Number(m[2]),
    m[3],
  ])
  const registry = Object.entries(errorRegistry).map(([code, { exit, summary }]) => [code, exit, summary])
  expect(rows.sort()).toEqual(registry.sort())
})

test('every exit status is explained in docs/errors.md', () => {
  const explained = new Set([...page.matchAll(/^\| (\d+) \|/gm)].map((m) => Number(m[1])))
  for (const { exit } of Object.values(errorRegistry)) expect(explained).toContain(exit)
})

test('an error carries code, cause, remedy and JSON', () => {
  const cause = new Error('inner')
  const error = new VarveError('NOT_FOUND', 'no machine "x"', {
    cause,
    remedy: 'varve ps',
    details: { id: 'x' },
  })
  expect(error.cause).toBe(cause)
  expect(error.exitCode).toBe(6)
  expect(isVarveError(error, 'NOT_FOUND')).toBe(true)
  expect(isVarveError(error, 'USAGE')).toBe(false)
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'NOT_FOUND',
    message: 'no machine "x"',
    remedy: 'varve ps',
    details: { id: 'x' },
  })
})
