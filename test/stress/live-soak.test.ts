import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../packages/bench/bin/bench.js', import.meta.url))

interface Report {
  readonly images: number
  readonly guests: number
  readonly gauges: readonly { readonly name: string; readonly most: number }[]
  readonly problems: string[]
}

test('live captures of a working guest leave memory, descriptors, processes and files as they were', async () => {
  // As docs/results/live-soak.md tells, but shorter. It fails with exit status 1, and says what rises.
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    program,
    'live-soak',
    ...['--json', '--captures', '40', '--restore-every', '20', '--warm-up', '20'],
  ]).catch((error: { stdout?: string }) => {
    if (!error.stdout) throw error
    return { stdout: error.stdout }
  })
  const { images, guests, gauges, problems } = JSON.parse(stdout) as Report
  // Resident memory grows until some hundred captures have been made; the heap tells of what is kept.
  expect(problems.filter((it) => !it.startsWith('self.rssMib'))).toEqual([])
  // By three engines and `auto`.
  expect([images, guests]).toEqual([2, 8])
  const most = Object.fromEntries(gauges.map(({ name, most: value }) => [name, value]))
  expect(most).toMatchObject({ freezers: 0, frozen: 0, liveFiles: 0, machines: 1, staging: 0, garbage: 0 })
  for (const name of ['self', 'vmm', 'server']) expect(most[`${name}.descriptors`]).toBeGreaterThan(3)
}, 240_000)
