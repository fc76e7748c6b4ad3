import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorRegistry, isVarveError, VarveError } from './errors.js'
import { notFoundKinds, pathError } from './not-found.js'

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

test('docs/errors.md names every kind of thing that can be not found', () => {
  const row = page.split('\n').find((line) => line.startsWith('| `NOT_FOUND`')) ?? ''
  for (const kind of notFoundKinds) expect(row).toContain(`\`${kind}\``)
})

test('a path that is not there is NOT_FOUND and says of what; any other failure to open it is PATH_INVALID', () => {
  const failure = (code: string) => Object.assign(new Error(code), { code })
  expect(pathError(failure('ENOENT'), 'no', { kind: 'store', details: { path: '/s' } })).toMatchObject({
    code: 'NOT_FOUND',
    details: { kind: 'store', path: '/s' },
  })
  expect(pathError(failure('ENOENT'), 'no').details).toEqual({ kind: 'file' })
  expect(pathError(failure('ENAMETOOLONG'), 'no')).toMatchObject({ code: 'PATH_INVALID', details: {} })
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
