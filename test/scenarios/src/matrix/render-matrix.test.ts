import { expect, test } from 'vitest'
import { renderMatrix } from './render-matrix.js'

const cell = (status: 'ok' | 'failed' | 'not applicable', reason: string | null = null) =>
  ({ status, ms: 1234, reason, facts: null }) as const

test('a table of scenarios and versions, then the binaries, and why a cell is not ok', () => {
  const binary = (label: string, path: string, problem: string | null = null) => ({
    label,
    path,
    binary: null,
    problem,
  })
  const text = renderMatrix({
    binaries: [
      binary('1.12.1', '/a/firecracker'),
      binary('1.14.0', '/b/firecracker'),
      binary('x', '/x', 'no version'),
    ],
    rows: [
      {
        scenario: 'two-regions',
        cells: [cell('ok'), cell('not applicable', 'wrong Diffs'), cell('failed', 'no version')],
      },
      {
        scenario: 'load-writes',
        cells: [
          cell('failed', 'Error: one\n    at two\ncaused by three\n    at four'),
          cell('ok'),
          undefined,
        ],
      },
    ],
  })
  expect(text).toBe(`scenario     1.12.1        1.14.0    x
two-regions  ok 1.2 s      n/a       FAILED 1.2 s
load-writes  FAILED 1.2 s  ok 1.2 s  –

1.12.1: /a/firecracker
1.14.0: /b/firecracker
x: /x: no version
1.14.0, two-regions: not applicable: wrong Diffs
1.12.1, load-writes: failed: Error: one
    caused by three
`)
})
