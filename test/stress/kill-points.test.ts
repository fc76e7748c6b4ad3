import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../packages/bench/bin/bench.js', import.meta.url))
/**
 * Each third change, whose kinds come in fours; the program without `--every` takes each
 * (docs/results/kill-points.md).
 */
const every = '3'
/**
 * All but flatten, pack and export, which write one file the same way that squash does;
 * docs/results/kill-points.md has them.
 */
const operations = [
  'create',
  'capture a base',
  'capture a child',
  'move a tag',
  'remove a snapshot',
  'squash',
  'gc',
  'import',
  'fill a frame cache',
  'give back a cached blob',
]

test('killed at changes it makes on disk, a process leaves a store and a cache that have lost nothing', async () => {
  // It fails with exit status 1 and the list of problems on its standard output.
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [program, 'kill-points', '--json', '--every', every, ...operations],
    {
      maxBuffer: 64 * 1024 * 1024,
    },
  ).catch((error: { stdout?: string; message: string }) => {
    if (error.stdout === undefined || error.stdout === '') throw error
    return { stdout: error.stdout }
  })
  const { total, rows, problems } = JSON.parse(stdout) as {
    total: number
    rows: { operation: string; points: number; done: number; undone: number }[]
    problems: string[]
  }
  expect(problems).toEqual([])
  expect(total).toBeGreaterThanOrEqual(110)
  expect(rows.map(({ operation }) => operation)).toEqual(operations)
  // Each operation was met both before and after it took place.
  for (const { operation, points, done, undone } of rows) {
    expect(done + undone, operation).toBe(points)
    expect(undone, operation).toBeGreaterThan(0)
  }
}, 600_000)
