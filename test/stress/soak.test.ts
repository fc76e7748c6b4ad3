import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../packages/bench/bin/bench.js', import.meta.url))

interface Phase {
  readonly phase: string
  readonly count: number
  readonly gauges: readonly { readonly name: string; readonly flat: boolean; readonly last: number }[]
}

test('restores, a page server and captures leave memory, descriptors, threads and directories as they were', async () => {
  // The same that docs/results/soak.md tells of, shorter. It fails with exit status 1, and says what rises.
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    program,
    'soak',
    ...['--json', '--samples', '10', '--restores', '100', '--served', '60', '--captures', '144'],
  ]).catch((error: { stdout?: string }) => {
    if (!error.stdout) throw error
    return { stdout: error.stdout }
  })
  const { results, problems } = JSON.parse(stdout) as { results: Phase[]; problems: string[] }
  // Resident memory grows for longer than this takes; the heap tells of what is kept.
  expect(problems.filter((it) => !it.includes('self.rssMib'))).toEqual([])
  expect(results.map(({ phase, count }) => [phase, count])).toEqual([
    ['restores', 100],
    ['served', 60],
    ['captures', 144],
  ])
  for (const { phase, gauges } of results) {
    const last = Object.fromEntries(gauges.map(({ name, last: value }) => [name, value]))
    expect(last, phase).toMatchObject({ staging: 0, garbage: 0, clones: 0, ended: 0 })
    expect(last.machines).toBe(phase === 'captures' ? 1 : 0)
    expect(last['self.descriptors']).toBeGreaterThan(3)
  }
  expect(results[1]?.gauges.map(({ name }) => name)).toContain('server.descriptors')
}, 240_000)
